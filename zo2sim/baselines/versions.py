"""Which weights and gradients a first-order schedule sees: the issue order, interpreted.

The version of a unit's weights is the number of optimizer steps that they contain. As for
zeroth-order schedules (`zo2sim.schedule.versions`), the race verifier proves that every legal
execution sees what the issue order sees, and this module that what it sees is right.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from zo2sim.schedule.hazard import Hazard, once, place
from zo2sim.schedule.ops import Buffer, BufferSpace, Kind, Op, Program, unit_name
from zo2sim.schedule.unroll import Unrolled, chain

_PER_UNIT = (
    BufferSpace.HOST,
    BufferSpace.NVME,
    BufferSpace.RESIDENT,
    BufferSpace.STATE,
    BufferSpace.HOST_STATE,
    BufferSpace.NVME_STATE,
)
_WEIGHTS = (BufferSpace.RESIDENT, BufferSpace.SLOT)
_GRADIENTS = (BufferSpace.GRADIENT, BufferSpace.HOST_GRADIENT, BufferSpace.NVME_GRADIENT)
_STEPS = (Kind.OPTIMIZE, Kind.HOST_OPTIMIZE)
_PASSES = (Kind.FORWARD, Kind.BACKWARD)


class Content(NamedTuple):
    """What a buffer holds of which unit: weights or states, a gradient, or a checkpoint.

    ``version`` counts optimizer steps, ``parts`` the backward passes that a gradient of step
    ``of_step`` sums up, ``trip`` the forward pass that left a checkpoint.
    """

    unit: int
    version: int | None = None
    parts: int = 0
    of_step: int = 0
    trip: int | None = None


def check_training(program: Program) -> tuple[Hazard, ...]:
    """Every operation that sees other weights, gradients or checkpoints than it should.

    A pass needs the weights of all optimizer steps before its own step; a backward pass the
    checkpoint of its own microbatch; an optimizer's step the whole gradient of its own step, once.
    """
    assert not program.flush.ops, "a first-order step leaves nothing to flush"
    items = chain((program.prologue, program.period, program.period, program.evaluate))
    passes = (op for op in program.period.ops if op.kind is Kind.BACKWARD)
    state = _State(Counter(_owner(op, b) for op in passes for b in op.writes if _is_gradient(b)))
    return once(hazard for item in items for hazard in state.follow(item))


@dataclass(slots=True)
class _State:
    """Contents of every buffer after the operations so far.

    ``passes`` counts the backward passes that add to each unit's gradient in a step: a tied tail
    adds to the head's, too.
    """

    passes: Counter[int]
    contents: dict[Buffer, Content] = field(default_factory=lambda: {})

    def follow(self, item: Unrolled) -> Iterator[Hazard]:
        """The hazards of one operation; afterwards its writes hold what they should."""
        op = item.op
        if op.kind in _PASSES:
            yield from self._stale_weights(item)
        if op.kind is Kind.BACKWARD:
            yield from self._wrong_checkpoint(item)
        if op.kind in _STEPS:
            yield from self._wrong_step(item)
        for buffer, content in self._written(item):
            self.contents[buffer] = content

    def at(self, buffer: Buffer) -> Content | None:
        first = Content(buffer.number, 0) if buffer.space in _PER_UNIT else None
        return self.contents.get(buffer, first)

    def _stale_weights(self, item: Unrolled) -> Iterator[Hazard]:
        for buffer in item.op.reads:
            if buffer.space in _WEIGHTS:
                unit = buffer.number if buffer.space is BufferSpace.RESIDENT else item.op.unit
                found = self.at(buffer)
                if found is None or (found.unit, found.version) != (unit, item.step):
                    held = _words(found)
                    yield _hazard(item, buffer, f"needs {_weights(unit, item.step)}, but {held}")

    def _wrong_checkpoint(self, item: Unrolled) -> Iterator[Hazard]:
        for buffer in item.op.reads:
            if buffer.space is BufferSpace.CHECKPOINT:
                wanted = Content(_unit(item.op), of_step=item.step, trip=item.op.trip - 1)
                if self.at(buffer) != wanted:
                    yield _hazard(item, buffer, "does not start from its own forward pass")

    def _wrong_step(self, item: Unrolled) -> Iterator[Hazard]:
        held = [c for b in item.op.reads if (c := self.at(b)) is not None]
        unit = _unit(item.op)
        whole = max((c.parts for c in held if (c.unit, c.of_step) == (unit, item.step)), default=0)
        wanted = self.passes[unit]
        where = item.op.reads[0]
        if whole != wanted:
            words = (
                f"takes a gradient of {whole} backward passes in this step; it must sum {wanted}"
            )
            yield _hazard(item, where, words)
        states = [c for c in held if c.unit == unit and c.version is not None]
        if not states or any(c.version != item.step for c in states):
            yield _hazard(item, where, f"must start from {_weights(unit, item.step)}")

    def _written(self, item: Unrolled) -> Iterator[tuple[Buffer, Content]]:
        op = item.op
        for buffer in op.writes:
            if op.kind is Kind.BACKWARD and _is_gradient(buffer):
                yield buffer, self._gradient(item, buffer)
            elif buffer.space in _GRADIENTS:
                yield buffer, self._moved_gradient(item)
            elif op.kind is Kind.FORWARD and buffer.space is BufferSpace.CHECKPOINT:
                yield buffer, Content(_unit(op), of_step=item.step, trip=op.trip)
            elif op.kind in _STEPS:
                yield buffer, Content(_unit(op), version=item.step + 1)
            elif op.unit is not None and op.kind not in _PASSES:
                yield buffer, self._moved(item)

    def _gradient(self, item: Unrolled, buffer: Buffer) -> Content:
        """One part more than what the backward pass found there and read."""
        before = self.at(buffer) if buffer in item.op.reads else None
        parts = before.parts if before is not None and before.of_step == item.step else 0
        return Content(_owner(item.op, buffer), parts=parts + 1, of_step=item.step)

    def _moved_gradient(self, item: Unrolled) -> Content:
        """What arrives, and what it is added to."""
        sources = [c for b in item.op.reads if (c := self.at(b)) is not None]
        unit = _unit(item.op)
        parts = sum(c.parts for c in sources if (c.unit, c.of_step) == (unit, item.step))
        return Content(unit, parts=parts, of_step=item.step)

    def _moved(self, item: Unrolled) -> Content:
        """A copy; states on their way may carry the gradient along."""
        sources = [c for b in item.op.reads if (c := self.at(b)) is not None]
        merged = Content(_unit(item.op))
        for content in sources:
            if content.version is not None:
                merged = merged._replace(unit=content.unit, version=content.version)
            if content.parts:
                merged = merged._replace(parts=content.parts, of_step=content.of_step)
            if content.trip is not None:
                merged = content
        return merged


def _unit(op: Op) -> int:
    assert op.unit is not None, f"{op.name} is about a unit"
    return op.unit


def _is_gradient(buffer: Buffer) -> bool:
    return buffer.space is BufferSpace.GRADIENT


def _owner(op: Op, buffer: Buffer) -> int:
    """Whose gradient a backward pass writes: blocks share a ring, head and tail have their own."""
    return buffer.number if buffer.number < 0 else _unit(op)


def _weights(unit: int | None, version: int) -> str:
    assert unit is not None
    return f"unit {unit_name(unit)} after {version} optimizer steps"


def _words(found: Content | None) -> str:
    if found is None or found.version is None:
        return "finds nothing"
    return f"finds {_weights(found.unit, found.version)}"


def _hazard(item: Unrolled, buffer: Buffer, words: str) -> Hazard:
    return Hazard(kind="stale", second=item, buffer=buffer, words=f"{place(item)} {words}")
