"""What each kind of operation does to real tensors. Order is the executor's; this is the work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from zo2rt.backends import Backend, Work
from zo2rt.exchange.ranks import Ranks
from zo2rt.journal import Journal, Record
from zo2rt.journal.groups import by_decay
from zo2rt.lanes.weights import LaneWeights, ScratchWeights
from zo2rt.model.binding import bound
from zo2rt.model.codec import encode
from zo2rt.model.exclusive import Exclusive
from zo2rt.model.units import Unit, Units
from zo2rt.noise.draws import Draws
from zo2rt.optimizer import projected_gradients, published_gradient
from zo2rt.steps.step import Step
from zo2rt.steps.supported import FIRST_ORDER_REASON
from zo2rt.weights.arena import Arena
from zo2rt.weights.block_store import BlockStore
from zo2rt.weights.device_arena import Part
from zo2rt.weights.swallowed import Swallowed
from zo2rt.weights.tables import Tables
from zo2sim.policies import Layout
from zo2sim.schedule.ops import FIRST_ORDER, Buffer, BufferSpace, Kind, Op


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
    tables: Tables
    weights: Sequence[LaneWeights]
    """Of every device."""
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

    def __post_init__(self) -> None:
        self._exclusive = Exclusive(self.units)

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
            case Kind.SEND:
                return partial(self._send, unit, op, step)
            case Kind.WRITE:
                version = self.stored[unit.number] = self.versions[unit.number]
                return partial(self._write, unit, version)
            case Kind.UPDATE | Kind.HOST_UPDATE:
                end = self.versions[unit.number] = step + 1 if op.trip else step
                return partial(self._update, unit, op, range(end - op.records, end))
            case Kind.BUILD:
                return partial(self._build, unit, op, step)
            case Kind.FORWARD:
                return partial(self._forward, unit, op, step)
            case _:
                return partial(_MOVES[op.kind], self, unit, op)

    def forget(self, step: int, *, kept: int) -> None:
        """It is over; keep the latest records alone, which a block may still miss."""
        del self.steps[step]
        self.kept = {number: r for number, r in self.kept.items() if number > step - kept}

    def _of_a_step(self, op: Op, step: int) -> Work:
        if op.kind is Kind.LOSS:
            return partial(self._loss, op, step)
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

    def _encode(self, unit: Unit, op: Op) -> None:
        staged = self.arena.staged(unit, self.arena.wire)
        encode(self.arena.home(unit), staged, self.arena.formats.slot(unit))

    def _upload(self, unit: Unit, op: Op) -> None:
        here = self.arena.devices[op.device]
        self._transfer(op, here.device(unit), self._source(unit), here.own(unit))

    def _transfer(self, op: Op, target: Tensor, source: Tensor, part: slice) -> None:
        """Copy a unit, or a part of it; of a small one a device's slice may be empty."""
        if part != slice(None):
            target, source = target[part], source[part]
        if target.numel():
            self.backend.transfer(op.track, target, source)

    def _gather(self, unit: Unit, op: Op) -> None:
        """Take the other devices' slices into the own slot."""
        here = self.arena.devices[op.device]
        for there in self.arena.devices:
            if there is not here:
                self._transfer(op, here.device(unit), there.device(unit), there.own(unit))

    def _source(self, unit: Unit) -> Tensor:
        for buffers in (self.arena.stage_in, self.arena.wire):
            if buffers:
                return self.arena.staged(unit, buffers)
        return self.arena.host[unit.number]

    def _offload(self, unit: Unit, op: Op) -> None:
        out = self.arena.stage_out
        target = self.arena.staged(unit, out) if out else self.arena.host[unit.number]
        here = self.arena.devices[op.device]
        self._transfer(op, target, here.device(unit), here.own(unit))

    def _allocate(self, unit: Unit, op: Op) -> None:
        """The arena did it before the first step."""

    def _update(self, unit: Unit, op: Op, numbers: range) -> None:
        """Apply the records of some steps to theta on the device, or on the host."""
        if not numbers:
            return
        self.backend.touch(reads=tuple(Buffer(BufferSpace.RECORD, number) for number in numbers))
        on_host = op.kind is Kind.HOST_UPDATE
        here = self.arena.devices[op.device]
        parts = map(Part, unit.parameters, self.arena.home(unit)) if on_host else here.parts(unit)
        records = [self.kept[number] for number in numbers]
        groups = by_decay(records)
        for parameter, tensor, first in parts:
            if parameter.trainable:
                self.backend.touch(reads=(tensor,), writes=(tensor,))
                applied = groups[parameter.decays]
                with self.swallowed.watching(parameter, tensor, applied):
                    self.draws.update(tensor, parameter, applied, first_element=first)

    def _build(self, unit: Unit, op: Op, step: int) -> None:
        """Build the only sample's weights ahead of its lanes."""
        now = self.steps[step]
        (key,) = now.keys
        signs = "".join(sign for sign in op.lanes if self._needs(0, sign))
        self._ahead(op).build(unit, signs, key, now.optimizer.eps)

    def _ahead(self, op: Op) -> ScratchWeights:
        weights = self.weights[op.device]
        assert isinstance(weights, ScratchWeights), f"{op.name}: W is built ahead in scratch alone"
        return weights

    def _forward(self, unit: Unit, op: Op, step: int) -> None:
        """Run lanes through the unit with weights of every sign and sample, which it builds first,
        or finds in scratch."""
        now, weights, lanes = self.steps[step], self.weights[op.device], self.layout.lanes(op)
        self._touch_activations(op)
        if op.lanes == "0":
            unfinished = [lane for lane in now.traversal.unfinished if lane in lanes]
            self._advance(now, unit, op, weights.unperturbed(unit), unfinished)
            return
        if op.finds_weights:
            found = self._ahead(op).found(unit, op.lanes)
            self._advance(now, unit, op, found, self.ranks.own(lanes))
            return
        keys, eps = now.keys, now.optimizer.eps
        for built in weights.perturbed(unit, op.lanes, keys, eps, needs=self._needs):
            own = self.ranks.own(set(self._lanes(built.sample, built.sign)).intersection(lanes))
            self._advance(now, unit, op, built.tensors, own)

    def _touch_activations(self, op: Op) -> None:
        """They are in the frames of lanes; see `zo2rt.backends.base.Touched`."""
        reads, writes = (
            tuple(b for b in touched if b.space is BufferSpace.ACTIVATIONS)
            for touched in (op.reads, op.writes)
        )
        self.backend.touch(reads=reads, writes=writes)

    def _advance(
        self, now: Step, unit: Unit, op: Op, weights: Sequence[Tensor], lanes: Sequence[int]
    ) -> None:
        here = self.tables.on(op.device, unit)
        with self._exclusive.of(unit), here, bound(unit.reads, weights):
            now.advance(lanes, unit.number, op.device)

    def _send(self, unit: Unit, op: Op, step: int) -> None:
        """Bring the group's lanes to the unit's device."""
        self._touch_activations(op)
        receive = partial(self.backend.receive, op.track)
        self.steps[step].move(self.layout.lanes(op), unit.number, op.device, receive)

    def _lanes(self, sample: int, sign: str) -> range:
        """Lanes are sample x sign x microbatch, microbatches fastest."""
        count = self.layout.recipe.microbatches
        first = (2 * sample + "+-".index(sign)) * count
        return range(first, first + count)

    def _needs(self, sample: int, sign: str) -> bool:
        return bool(self.ranks.own(self._lanes(sample, sign)))

    def _loss(self, op: Op, step: int) -> None:
        """Losses of all ranks. What another one's lane raises ends the step here, too."""
        now = self.steps[step]
        self._touch_activations(op)
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


_MOVES: Mapping[Kind, Callable[[Operations, Unit, Op], None]] = {
    Kind.ENCODE: Operations._encode,
    Kind.ALLOC: Operations._allocate,
    Kind.H2D: Operations._upload,
    Kind.D2H: Operations._offload,
    Kind.GATHER: Operations._gather,
}
