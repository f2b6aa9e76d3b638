"""What each kind of operation does to real tensors. Order is the executor's; this is the work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from zo2rt.backends import Backend, Work
from zo2rt.exchange.ranks import Ranks
from zo2rt.journal import Journal, Record
from zo2rt.journal.groups import by_decay
from zo2rt.lanes.weights import LaneWeights
from zo2rt.model.binding import bound
from zo2rt.model.codec import encode
from zo2rt.model.units import Unit, Units
from zo2rt.noise.draws import Draws
from zo2rt.optimizer import projected_gradients, published_gradient
from zo2rt.steps.step import Step
from zo2rt.steps.supported import FIRST_ORDER_REASON
from zo2rt.weights.arena import Arena
from zo2rt.weights.block_store import BlockStore
from zo2rt.weights.swallowed import Swallowed
from zo2sim.policies import Layout
from zo2sim.schedule.ops import FIRST_ORDER, Buffer, BufferSpace, Kind, Op, Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting:
    """Where a run keeps what outlives a step, beside memory: each is None where nothing does."""

    journal: Journal | None = None
    blocks: BlockStore | None = None


@dataclass(kw_only=True)
class Operations:
    """The work of every operation. ``steps`` holds those that run, ``kept`` the last records."""

    backend: Backend
    units: Units
    arena: Arena
    layout: Layout
    weights: LaneWeights
    draws: Draws
    store: Lasting
    ranks: Ranks
    steps: dict[int, Step] = field(default_factory=lambda: {})
    kept: dict[int, Record] = field(default_factory=lambda: {})
    versions: dict[int, int] = field(default_factory=lambda: {})
    """Records that a unit's weights contain after its last update."""
    swallowed: Swallowed = field(default_factory=Swallowed)
    stored: dict[int, int] = field(default_factory=lambda: {})
    """The same of a block on NVMe."""

    def work(self, op: Op, step: int) -> Work:
        """What ``op`` does in ``step``, to be run in its place in the order.

        Called once per operation, in issue order, when it is enqueued.
        """
        if op.kind in FIRST_ORDER:
            raise ValueError(f"{op.name}: {FIRST_ORDER_REASON}")
        if op.unit is None:
            return self._of_a_step(op, step)
        unit = self.units[op.unit]
        match op.kind:
            case Kind.READ:
                return partial(self._read, unit, self.stored.get(unit.number, 0))
            case Kind.WRITE:
                version = self.stored[unit.number] = self.versions[unit.number]
                return partial(self._write, unit, version)
            case Kind.UPDATE | Kind.HOST_UPDATE:
                end = self.versions[unit.number] = step + 1 if op.trip else step
                return partial(self._update, unit, op, range(end - op.records, end))
            case Kind.FORWARD:
                return partial(self._forward, unit, op.lanes, step)
            case _:
                return partial(_MOVES[op.kind], self, unit)

    def _of_a_step(self, op: Op, step: int) -> Work:
        if op.kind is Kind.LOSS:
            return partial(self._loss, step)
        assert op.kind is Kind.JOURNAL, f"{op.name} is about a unit"
        return partial(self._journal, step)

    def _read(self, unit: Unit, version: int) -> None:
        staged = self.arena.staged(unit, self.arena.stage_in)
        self.backend.touch(reads=(Buffer(BufferSpace.NVME, unit.number),), writes=(staged,))
        self._blocks.read(unit.number, staged, version)

    def _write(self, unit: Unit, version: int) -> None:
        staged = self.arena.staged(unit, self.arena.stage_out)
        self.backend.touch(reads=(staged,), writes=(Buffer(BufferSpace.NVME, unit.number),))
        self._blocks.write(unit.number, staged, version)

    @property
    def _blocks(self) -> BlockStore:
        assert self.store.blocks is not None, "a plan with tier=nvme has a block store"
        return self.store.blocks

    def _encode(self, unit: Unit) -> None:
        staged = self.arena.staged(unit, self.arena.wire)
        encode(self.arena.home(unit), staged, self.arena.formats.slot(unit))

    def _upload(self, unit: Unit) -> None:
        self.backend.transfer(Stream.H2D, self.arena.device(unit), self._source(unit))

    def _source(self, unit: Unit) -> Tensor:
        for buffers in (self.arena.stage_in, self.arena.wire):
            if buffers:
                return self.arena.staged(unit, buffers)
        return self.arena.host[unit.number]

    def _offload(self, unit: Unit) -> None:
        out = self.arena.stage_out
        target = self.arena.staged(unit, out) if out else self.arena.host[unit.number]
        self.backend.transfer(Stream.D2H, target, self.arena.device(unit))

    def _allocate(self, unit: Unit) -> None:
        """The arena did it before the first step."""

    def _update(self, unit: Unit, op: Op, numbers: range) -> None:
        """Apply the records of some steps to theta on the device, or on the host."""
        if not numbers:
            return
        self.backend.touch(reads=tuple(Buffer(BufferSpace.RECORD, number) for number in numbers))
        on_host = op.kind is Kind.HOST_UPDATE
        theta = self.arena.home(unit) if on_host else self.arena.theta(unit)
        records = [self.kept[number] for number in numbers]
        groups = by_decay(records)
        for parameter, tensor in zip(unit.parameters, theta, strict=True):
            if parameter.trainable:
                self.backend.touch(reads=(tensor,), writes=(tensor,))
                applied = groups[parameter.decays]
                with self.swallowed.watching(parameter, tensor, applied):
                    self.draws.update(tensor, parameter, applied)

    def _forward(self, unit: Unit, lanes: str, step: int) -> None:
        """Build the weights of every sign and sample, and run their lanes through the unit."""
        now = self.steps[step]
        if lanes == "0":
            self._advance(now, unit, self.weights.unperturbed(unit), now.traversal.unfinished)
            return
        keys, eps = now.keys, now.optimizer.eps
        for built in self.weights.perturbed(unit, lanes, keys, eps, lanes_of=self._lanes):
            self._advance(now, unit, built.tensors, self._lanes(built.sample, built.sign))

    def _advance(
        self, now: Step, unit: Unit, weights: Sequence[Tensor], lanes: Sequence[int]
    ) -> None:
        with bound(unit.reads, weights):
            now.advance(lanes, unit.number)

    def _lanes(self, sample: int, sign: str) -> range:
        """Lanes are sample x sign x microbatch, microbatches fastest; of them this rank's."""
        count = self.layout.recipe.microbatches
        first = (2 * sample + "+-".index(sign)) * count
        return self.ranks.own(first, first + count)

    def _loss(self, step: int) -> None:
        """Losses of all ranks. What another one's lane raises ends the step here, too."""
        now = self.steps[step]
        losses, now.error = self.ranks.losses(now.losses(len(self.ranks.lanes)), now.error)
        now.projected_gradients = self._gradients(now, losses)
        self.backend.touch(writes=(Buffer(BufferSpace.RECORD, step),))
        record = self.kept[step] = now.record(step, losses)
        if now.error is None:
            self.ranks.recorded(record)

    def _gradients(self, now: Step, losses: Sequence[float]) -> tuple[float, ...]:
        recipe, eps = self.layout.recipe, now.optimizer.eps
        if recipe.reference != "none" and now.error is None:
            plus, minus = now.traversal.returned()
            return (published_gradient(plus, minus, eps=eps),)
        return projected_gradients(
            losses, samples=recipe.samples, microbatches=recipe.microbatches, eps=eps
        )

    def _journal(self, step: int) -> None:
        """Returns when the step's record is durable; nothing to do where nobody keeps a journal.

        A step that failed is none, and is undone: see [Note: a lane's error].
        """
        self.backend.touch(reads=(Buffer(BufferSpace.RECORD, step),))
        now = self.steps.get(step)  # gone by now where it ended well
        if self.store.journal is not None and (now is None or now.error is None):
            self.store.journal.append(self.kept[step])


_MOVES: Mapping[Kind, Callable[[Operations, Unit], None]] = {
    Kind.ENCODE: Operations._encode,
    Kind.ALLOC: Operations._allocate,
    Kind.H2D: Operations._upload,
    Kind.D2H: Operations._offload,
}
