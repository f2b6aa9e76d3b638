"""The parts of an engine, put together once, before the first step."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from zo2rt.backends import Backend
from zo2rt.checkpoint import Checkpoint
from zo2rt.engine.self_test import explore
from zo2rt.engine.shared_host import check_together
from zo2rt.exchange import ALONE, Exchange
from zo2rt.exchange.begin import Begun, FollowedRun, Wanted, begin
from zo2rt.exchange.ranks import Ranks
from zo2rt.journal import Position
from zo2rt.journal.chain import FIRST
from zo2rt.journal.model_files import NONE, ModelFiles
from zo2rt.journal.run import BLOCKS, JournalledRun, RunFolder, header
from zo2rt.lanes.weights import InPlaceWeights, ScratchWeights
from zo2rt.memory.demand import at_a_snapshot, demand, demands
from zo2rt.memory.room import Room, check_room
from zo2rt.model.codec import TORCH_DTYPES
from zo2rt.model.decay import rule_of
from zo2rt.model.identity import Forward
from zo2rt.model.scales import with_scales
from zo2rt.model.units import UnitParameter, Units
from zo2rt.noise import thresholds
from zo2rt.noise.draws import Draws, ElementDraws, MezoDraws
from zo2rt.optimizer import Estimator, MezoSgd, Objective
from zo2rt.steps.operations import Lasting, Operations
from zo2rt.steps.supported import check, check_model
from zo2rt.weights.arena import Arena
from zo2rt.weights.block_store import BlockStore
from zo2rt.weights.formats import Formats, check_encodable, encodable
from zo2rt.weights.residence import Residence
from zo2rt.weights.swallowed import Swallowed
from zo2rt.weights.tables import Tables
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.refusals import check as check_pair
from zo2sim.plan.shares import share
from zo2sim.policies import Layout, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run is to do; ``folder`` keeps its journal, snapshots and blocks on NVMe.

    The runtime's buffers stay within ``limit``, where it has one. The weights of a hollow model are
    those of its ``checkpoint``.
    """

    plan: Plan
    recipe: Recipe
    objective: Objective
    optimizer: MezoSgd
    folder: RunFolder | None
    limit: Room
    checkpoint: Checkpoint | None = None

    def weights(self, parameter: UnitParameter) -> Tensor:
        """What the model has come with; in memory for as long as the caller holds it, if read."""
        tensor = parameter.tensor
        return tensor.data if self.checkpoint is None else self.checkpoint.weights(tensor)

    exchange: Exchange = ALONE

    @property
    def base(self) -> Path | None:
        """The model's folder where a journalled run begins from its files."""
        return None if self.folder is None or self.checkpoint is None else self.checkpoint.folder

    def check(self) -> None:
        """Raise ``ValueError`` for what cannot be combined or executed."""
        check_pair(self.plan, self.recipe)
        check(self.plan, self.recipe)
        replayable = self.recipe.noise != "torch" and self.recipe.perturbation == "scratch"
        if self.folder is not None and not replayable:
            raise ValueError(
                "a run with a journal can be replayed, which needs perturbation=scratch and "
                f"noise=gaussian or rademacher; got {self.recipe.perturbation} and "
                f"{self.recipe.noise}; leave the folder out, or change the recipe"
            )
        if self.optimizer.sparsity and not (replayable and not self.recipe.recoded):
            raise ValueError(
                "Sparse-MeZO takes its masks from the pristine master weights, which needs "
                "perturbation=scratch, noise=gaussian or rademacher, and a wire that does not "
                "change the format; use sparsity=0, or change the recipe"
            )
        if self.recipe.trains_scales and self.optimizer.sparsity:
            raise ValueError(
                "Sparse-MeZO leaves a matrix's largest weights as they are, and a scale is that of "
                "a whole group; use sparsity=0, or another trainable"
            )
        if self.recipe.noise == "torch" and self.optimizer.stochastic_rounding:
            raise ValueError(
                "stochastic_rounding draws from noise with element addresses, and torch noise has "
                "none; use stochastic_rounding=False, or noise=gaussian or rademacher"
            )
        if self.recipe.reference != "none" and self.optimizer.estimator != Estimator():
            raise ValueError(
                f"reference={self.recipe.reference} has the bits of published code, whose updates "
                f"follow g as it is; got {self.optimizer.estimator}; leave the estimator out, or "
                "use reference=none"
            )
        share(self.recipe.num_lanes, self.exchange.rank, self.exchange.size)
        if self.exchange.size > 1 and self.plan.devices > 1:
            raise ValueError(
                f"each of several ranks has one device, as no group of lanes on a ring may find W "
                f"that another rank's lanes need; got {self.exchange.size} ranks with "
                f"devices={self.plan.devices}; start one rank, or use devices=1 and a rank for "
                f"every device"
            )
        if self.exchange.size > 1 and self.recipe.reference != "none":
            raise ValueError(
                f"reference={self.recipe.reference} divides two losses in their own dtype, and "
                "ranks exchange them as float64; start one rank, or use reference=none"
            )
        if self.folder is None and self.plan.tier == "nvme":
            raise ValueError("tier=nvme needs a folder for the blocks; got none; give the folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that a run works with, the model's weights moved in."""

    units: Units
    layout: Layout
    arena: Arena
    residence: Residence
    operations: Operations
    run: JournalledRun | FollowedRun | None
    blocks: BlockStore | None
    ranks: Ranks
    first_step: int


def assemble(model: nn.Module, settings: Settings, backend: Backend) -> Parts:
    """Explore the model, begin or resume the run, and move the weights to their homes."""
    plan, recipe = settings.plan, settings.recipe
    settings.check()
    _check_devices(plan, backend)
    _check_dtype(model, recipe)
    if settings.folder is not None and settings.checkpoint is not None:
        settings.checkpoint.hash_as_read()
    units, shape = _explored(model, settings)
    layout = Layout(shape=shape, plan=plan, recipe=recipe)
    formats = Formats(units, layout)
    _check_fits(settings, units, formats, backend)
    trained = _trained(settings, units)
    begun = _begun(settings, model, formats, trained, backend)
    run = begun.run
    with ExitStack() as undone:
        if run is not None:
            undone.callback(run.close)
        ranks = Ranks(
            settings.exchange,
            num_lanes=recipe.num_lanes,
            start=begun.position,
            journalled=run is not None,
        )
        arena = Arena(backend, units, layout)
        blocks = _block_store(settings, arena, units)
        if blocks is not None:
            undone.callback(blocks.close)
        _let_go(units, begun)
        residence = Residence(units, arena, blocks=blocks, weights=_weights(settings, begun))
        tables = Tables(model, units, layout, backend.devices)
        draws = _draws(settings, trained, backend)
        lane_weights = InPlaceWeights if layout.in_place else ScratchWeights
        operations = Operations(
            backend=backend,
            units=units,
            arena=arena,
            layout=layout,
            tables=tables,
            weights=[lane_weights(backend, units, on, layout, draws) for on in arena.devices],
            draws=draws,
            swallowed=Swallowed(thresholds={p.name: threshold for p, threshold in trained.items()}),
            store=Lasting(journal=None if run is None else run.journal, blocks=blocks),
            ranks=ranks,
        )
        undone.pop_all()
        return Parts(
            units=units,
            layout=layout,
            arena=arena,
            residence=residence,
            operations=operations,
            run=run,
            blocks=blocks,
            ranks=ranks,
            first_step=begun.position.step,
        )


def _explored(model: nn.Module, settings: Settings) -> tuple[Units, Shape]:
    """Units of the model, with what trains beside them, and all that a policy needs to know."""
    recipe = settings.recipe
    units, forwards = explore(
        model,
        settings.objective,
        adapters_with_head=recipe.lora_rank is not None,
        decays=rule_of(recipe.reference),
        weights=None if settings.checkpoint is None else settings.checkpoint.weights,
    )
    if recipe.trains_scales:
        units = with_scales(units, recipe, settings.weights)
    check_model(settings.plan, recipe, units, forwards)
    return units, Shape(num_blocks=units.num_blocks, tied=units.tied, forwards=forwards)


def _check_fits(settings: Settings, units: Units, formats: Formats, backend: Backend) -> None:
    """Raise `DoesNotFit` where this process, or all ranks of this computer, lack memory."""
    weights, needed = [p.tensor for p in units.parameters], demand(formats)
    if settings.folder is not None and settings.exchange.rank == 0:
        needed = replace(needed, items=(*needed.items, at_a_snapshot(units)))
    each = demands(formats) if settings.plan.devices > 1 else ()
    check_room(needed, backend, limit=settings.limit, weights=weights, each=each)
    check_together(settings.exchange, needed, backend.device, weights)


def _trained(settings: Settings, units: Units) -> dict[UnitParameter, float]:
    """Trained parameters, each with the threshold that the weights of now give it."""
    sparsity = settings.optimizer.sparsity
    trained = [p for p in units.parameters if p.trainable]
    found = dict.fromkeys(trained, math.inf)
    for parameter in (p for p in trained if p.decays and sparsity):
        one = {parameter.name: settings.weights(parameter).view(-1)}
        found[parameter] = thresholds(one, sparsity)[parameter.name]
    return found


def _begun(
    settings: Settings,
    model: nn.Module,
    formats: Formats,
    trained: Mapping[UnitParameter, float],
    backend: Backend,
) -> Begun:
    """Before a weight moves; raises ``ValueError`` for one that cannot be encoded.

    One process without a folder needs no header, and no digest of weights.
    """
    units = formats.units
    if settings.folder is None and settings.exchange.size == 1:
        if not settings.recipe.trains_scales:  # whose scales tell already
            check_encodable(units, formats, settings.weights)
        return Begun(
            position=Position(step=0, sha256=FIRST),
            run=None,
            weights=Trained(settings, trained),
        )
    about = header(
        trained,
        Forward.of(model, units.parameters, encodable(units, formats, settings.weights)),
        settings.plan,
        settings.recipe,
        settings.optimizer,
        backend.device,
    )
    wanted = Wanted(
        folder=settings.folder,
        header=about,
        trained=Trained(settings, trained),
        files=_files(settings, trained),
    )
    return begin(settings.exchange, wanted)


class Trained(Mapping[str, Tensor]):
    """The weights that trained parameters have come with, by name."""

    def __init__(self, settings: Settings, trained: Iterable[UnitParameter]) -> None:
        self._settings, self._parameters = settings, {p.name: p for p in trained}

    def __getitem__(self, name: str) -> Tensor:
        return self._settings.weights(self._parameters[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)


def _files(settings: Settings, trained: Iterable[UnitParameter]) -> ModelFiles:
    checkpoint = settings.checkpoint
    if checkpoint is None:
        return NONE
    holds = frozenset(p.name for p in trained if checkpoint.is_read(p.tensor))
    return ModelFiles(sha256=checkpoint.sha256(), holds=holds)


def _weights(settings: Settings, begun: Begun) -> Callable[[UnitParameter], Tensor]:
    """What every parameter moves in with: as it has come, or as the run that goes on had it."""
    found = begun.weights
    return lambda p: found[p.name] if p.trainable else settings.weights(p)


def _let_go(units: Units, begun: Begun) -> None:
    """What a run that goes on reads from its own snapshot, the model need not hold beside it."""
    held = begun.run.held if isinstance(begun.run, JournalledRun) else frozenset[str]()
    for parameter in units.parameters:
        if parameter.name in held:
            there = parameter.tensor.data
            parameter.tensor.data = there.new_full((1,), torch.nan).expand(there.shape)


def _block_store(settings: Settings, arena: Arena, units: Units) -> BlockStore | None:
    if settings.plan.tier != "nvme":
        return None
    assert settings.folder is not None, "checked before"
    streamed = [unit for unit in units.order if arena.is_streamed(unit)]
    sizes = {unit.number: arena.formats.home(unit).num_bytes for unit in streamed}
    rank = settings.exchange.rank
    name = "blocks.bin" if rank == 0 else f"blocks-{rank}.bin"  # each has all of them
    return BlockStore(settings.folder.path / BLOCKS / name, sizes)


def _draws(settings: Settings, trained: Mapping[UnitParameter, float], backend: Backend) -> Draws:
    if settings.recipe.noise == "torch":
        return MezoDraws([*trained], backend.device, settings.recipe.reference)
    return ElementDraws(
        settings.recipe.noise,
        thresholds={p.name: threshold for p, threshold in trained.items()},
        threads=torch.get_num_threads(),
        stochastic_rounding=settings.optimizer.stochastic_rounding,
    )


def _check_devices(plan: Plan, backend: Backend) -> None:
    there = len(backend.devices)
    if plan.devices > there:
        raise ValueError(
            f"devices={plan.devices} needs a backend with as many; it has {there}; open it with "
            f"devices={plan.devices}, or use devices={there} in the plan"
        )


def _check_dtype(model: nn.Module, recipe: Recipe) -> None:
    want, field = TORCH_DTYPES[recipe.plain_dtype], "storage_dtype"
    if recipe.storage_dtype.is_integer:
        field = "compute_dtype"
    for name, parameter in model.named_parameters():
        if parameter.dtype is not want:
            raise ValueError(
                f"{name} must be {want} for {field}={recipe.plain_dtype}; "
                f"got {parameter.dtype}; convert the model, or choose the recipe's dtypes"
            )
