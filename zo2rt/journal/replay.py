"""Updates again, without a forward pass: weights at any step from a snapshot and its records."""

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from zo2rt import noise
from zo2rt.journal import Header, Record, history, read
from zo2rt.journal import snapshot as snapshots
from zo2rt.journal.durable import FileSystem
from zo2rt.journal.groups import DECAYED, by_decay
from zo2rt.journal.model_files import NeedsFiles
from zo2rt.journal.recovery import JOURNAL, SNAPSHOTS
from zo2rt.noise import Distribution, Extent

KINDS: Mapping[str, Distribution] = {kind: kind for kind in get_args(Distribution)}
"""Noise that a journal can be replayed with, by its name in the header."""


class Replayed(Mapping[str, Tensor]):
    """The weights of every parameter of the header after the records, by name, each a new tensor.

    The records are applied, oldest first, to what ``base`` has, when a name is asked for. Gives the
    bits of the run that wrote them, whatever the device and the number of threads.
    """

    def __init__(
        self, base: Mapping[str, Tensor], header: Header, records: Sequence[Record]
    ) -> None:
        self._base, self._header = base, header
        self._entries = {entry.name: entry for entry in header.parameters}
        self._updates = by_decay(records)

    def __getitem__(self, name: str) -> Tensor:
        entry, weights = self._entries[name], self._base[name].clone()
        updates = self._updates[entry.group == DECAYED]
        if not updates:
            return weights
        with torch.no_grad():
            noise.update(
                weights.view(-1),
                Extent(p=entry.p, threshold=entry.threshold),
                updates=updates,
                kind=KINDS[self._header.noise],
                stochastic_rounding=self._header.stochastic_rounding,
            )
        return weights

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def weights_at(
    fs: FileSystem, folder: Path, step: int, *, files: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The trained weights of the run in ``folder`` before ``step``, which is that many updates.

    ``files`` are the weights in the model's files, of a run whose base snapshot leaves them there.
    From the newest whole snapshot that is not later. Raises ``ValueError`` where the journal does
    not reach that far, and `DamageError` where what is needed is damaged.
    """
    contents = read(fs, folder / JOURNAL)
    if not 0 <= step <= contents.position.step:
        raise ValueError(
            f"{folder}: the journal reaches step {contents.position.step}; step must be between 0 "
            f"and that; got {step}"
        )
    snapshot = snapshots.latest(fs, folder / SNAPSHOTS, before=step).snapshot
    if snapshot is None:
        raise ValueError(f"{folder / SNAPSHOTS}: must hold a snapshot of step {step} or earlier")
    held = snapshots.Weights(fs, snapshot)
    if snapshot.files and files is None:
        raise NeedsFiles(
            f"{snapshot.folder}: step {step} is rebuilt from the weights of a model's folder, in "
            f"{', '.join(snapshot.files)}; give them, or the folder of a run that says where it is"
        )
    records = history(fs, folder / JOURNAL, snapshot.position)
    base = ChainMap(held, files or {})  # type: ignore[arg-type] # read only
    return dict(Replayed(base, contents.header, records[: step - snapshot.position.step]))
