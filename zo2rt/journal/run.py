"""A run that is journalled: its header, its weights when it starts or goes on, its snapshots."""

from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from torch import Tensor

from zo2rt import noise
from zo2rt.journal import Group, Header, Journal, ParameterEntry, Record, durable, recovery
from zo2rt.journal import snapshot as snapshots
from zo2rt.journal.durable import Disk, FileSystem
from zo2rt.journal.groups import DECAYED, UNDECAYED
from zo2rt.journal.header import environment
from zo2rt.journal.model_files import NONE, ModelFiles
from zo2rt.journal.replay import Replayed
from zo2rt.journal.snapshot import Snapshot
from zo2rt.model.identity import Forward
from zo2rt.model.integers import ENCODING_VERSION
from zo2rt.model.units import UnitParameter
from zo2rt.optimizer import MezoSgd
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.file import dump

BLOCKS = "nvme"
"""Folder within a run's, for the blocks that its processes keep on NVMe while they run."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps its journal, snapshots and blocks, and how files are touched there."""

    path: Path
    fs: FileSystem = field(default_factory=Disk)


class JournalledRun:
    """The run in ``folder``: a new one from the ``trained`` weights, or the one there.

    `weights` says what they are then. Of what ``files`` hold the base snapshot has no copy. Raises
    ``ValueError`` where the settings differ from the journal's, or the files from what they were,
    `DamageError` where it cannot be continued, and ``BlockingIOError`` where another process is in
    the folder, which is this one's until `close`.
    """

    def __init__(
        self,
        folder: RunFolder,
        header: Header,
        trained: Mapping[str, Tensor],
        files: ModelFiles = NONE,
    ) -> None:
        self.fs, self._folder = folder.fs, folder.path
        durable.ensure_folder(self.fs, self._folder)
        with ExitStack() as held:
            held.enter_context(self.fs.locked(self._folder))
            self._begin(header, trained, files)
            self._held = held.pop_all()

    def _begin(self, header: Header, trained: Mapping[str, Tensor], files: ModelFiles) -> None:
        durable.remove_tree(self.fs, self._folder / BLOCKS)  # of killed processes, ranks or one
        self.goes_on = self.fs.exists(self._folder / recovery.JOURNAL)
        self.resumed = found = recovery.start(self.fs, self._folder, header, trained, files=files)
        self.journal: Journal = found.journal
        self.damaged = found.damaged

    def weights(self, trained: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What the run's first step here begins with: the ``trained`` weights that it began from,
        or the newest whole snapshot and every record since, applied without a forward pass and to
        the same bits. Each is read when it is asked for; a file of the snapshot stays in memory for
        as long as the mapping does.
        """
        if not self.goes_on:
            return trained
        found = self.resumed
        return after(self.fs, found.snapshot, trained, self.journal.header, found.records)

    @property
    def held(self) -> frozenset[str]:
        """Parameters of which the snapshot that the run goes on from has the weights."""
        shards = self.resumed.snapshot.shards if self.goes_on else ()
        return frozenset(name for shard in shards for name in shard.tensors)

    def close(self) -> None:
        """Leave the folder to others; a second call does nothing."""
        self._held.close()

    def snapshot(self, weights: Iterable[tuple[str, Tensor]]) -> Path:
        """A durable snapshot of weights that stand at the journal's end; returns its folder."""
        trained = {entry.name for entry in self.journal.header.parameters}
        kept = ((name, tensor) for name, tensor in weights if name in trained)
        return recovery.save(self.fs, self._folder, self.journal, kept).folder


def after(
    fs: FileSystem,
    snapshot: Snapshot | None,
    trained: Mapping[str, Tensor],
    header: Header,
    records: Sequence[Record],
) -> Mapping[str, Tensor]:
    """A snapshot's weights after records; what it does not have, ``trained`` has."""
    held = {} if snapshot is None else snapshots.Weights(fs, snapshot)
    base = ChainMap(held, trained)  # type: ignore[arg-type] # read only
    return Replayed(base, header, records)


def header(
    trained: Mapping[UnitParameter, float],
    forward: Forward,
    plan: Plan,
    recipe: Recipe,
    optimizer: MezoSgd,
    device: torch.device,
) -> Header:
    """All that must be the same for the journal to give the same weights again.

    ``trained`` are the parameters, each with its threshold of Sparse-MeZO; ``forward`` is all else
    that a step reads.
    """
    settings = dump(plan, recipe)
    return Header(
        recipe=settings.partition("\n[plan]")[0]
        + _optimizer_table(optimizer)
        + _encoding_table(recipe),
        plan="[plan]" + settings.partition("[plan]")[2],
        seed=optimizer.seed,
        noise=recipe.noise,
        noise_version=noise.NOISE_VERSION,
        stochastic_rounding=optimizer.stochastic_rounding,
        lr_schedule="each record holds its step's learning rate",
        decay_rule="each parameter's group says whether it decays",
        groups=(
            Group(name=DECAYED, lr=optimizer.lr, weight_decay=optimizer.weight_decay),
            Group(name=UNDECAYED, lr=optimizer.lr, weight_decay=0.0),
        ),
        parameters=tuple(_entry(p, recipe, threshold) for p, threshold in trained.items()),
        forward=forward,
        environment=environment(device),
    )


def _entry(parameter: UnitParameter, recipe: Recipe, threshold: float) -> ParameterEntry:
    return ParameterEntry(
        p=parameter.index,
        name=parameter.name,
        shape=parameter.shape,
        dtype=recipe.plain_dtype,
        group=DECAYED if parameter.decays else UNDECAYED,
        threshold=threshold,
    )


def _optimizer_table(optimizer: MezoSgd) -> str:
    """What of the optimizer fixes bits and is said nowhere else in the header."""
    estimator = optimizer.estimator
    rows: Sequence[str] = [f"{f.name} = {getattr(estimator, f.name)!r}" for f in fields(estimator)]
    return "\n".join(["\n[optimizer]", f"eps = {optimizer.eps!r}", *rows, ""])


def _encoding_table(recipe: Recipe) -> str:
    """What of integer formats fixes bits: of the weights that a run begins from, the encoder."""
    if not recipe.storage_dtype.is_integer:
        return ""
    return f"\n[encoding]\nversion = {ENCODING_VERSION}\n"
