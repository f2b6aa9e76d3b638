"""What a program computes, whoever judges it: its issue order, run over symbols instead of tensors.

Weights, losses and records are hashes of everything that made them, so two programs have the same
outcome if and only if they compute the same. It has no idea of what should happen, and knows of
versions, orders and tasks nothing: an operation does what the runtime does for it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from zo2sim.schedule.ops import Buffer, BufferSpace, Kind, Op, Program, Schedule

WEIGHTS = (
    BufferSpace.HOST,
    BufferSpace.NVME,
    BufferSpace.RESIDENT,
    BufferSpace.SLOT,
    BufferSpace.SLICE,
    BufferSpace.WIRE,
    BufferSpace.STAGE_IN,
    BufferSpace.STAGE_OUT,
)
PERIODS = 3


class Value(NamedTuple):
    """Weights: what made them, and the last step whose record is among it."""

    made: int
    newest: int = -1


Hidden = tuple[Buffer, str]
"""Activations, and the sign of the lanes that they are of."""


class Crashed(Exception):
    """The runtime would have raised, or waited for ever."""


@dataclass
class Machine:
    """The state of a run: buffers, the lanes' hidden states where they are, records by step."""

    trained: frozenset[int]
    buffers: dict[Buffer, Value] = field(default_factory=dict)
    hidden: defaultdict[Hidden, int] = field(default_factory=lambda: defaultdict(int))
    records: dict[int, int] = field(default_factory=dict)
    journal: tuple[object, ...] = ()

    def copy(self) -> "Machine":
        return Machine(
            self.trained,
            dict(self.buffers),
            defaultdict(int, self.hidden),
            dict(self.records),
            self.journal,
        )

    def run(self, op: Op, step: int) -> None:
        match op.kind:
            case Kind.UPDATE | Kind.HOST_UPDATE:
                self.update(op, step)
            case Kind.BUILD:
                self.build(op)
            case Kind.FORWARD:
                self.forward(op, step)
            case Kind.LOSS if op.writes:
                self.records[step] = hash(self.losses(op))
                self.hidden.clear()
            case Kind.JOURNAL:
                self.journal += ((step, self.record(step)),)
            case Kind.SEND:
                (here,), (there,) = op.reads, op.writes
                self.hidden |= {(there, sign): self.hidden[here, sign] for sign in op.lanes}
            case Kind.LOSS | Kind.ALLOC:
                pass
            case _:
                self.move(op)

    def at(self, buffer: Buffer) -> Value:
        return self.buffers.get(buffer, Value(hash(buffer)))

    def record(self, step: int) -> int:
        if step not in self.records:
            raise Crashed
        return self.records[step]

    def losses(self, op: Op) -> tuple[object, ...]:
        """Of all lanes that the operation reads, whichever device has them."""
        return tuple(
            sorted(
                (buffer.number, sign, made)
                for (buffer, sign), made in self.hidden.items()
                if buffer in op.reads
            )
        )

    def move(self, op: Op) -> None:
        values = [self.at(buffer) for buffer in op.reads if buffer.space in WEIGHTS]
        value = values[0]
        if op.kind is Kind.GATHER:
            value = Value(hash(tuple(values)), min(one.newest for one in values))
        if op.kind is Kind.WRITE and value.newest >= len(self.journal):
            raise Crashed
        self.buffers |= {b: value for b in op.writes if b.space in WEIGHTS}

    def update(self, op: Op, step: int) -> None:
        end = step + 1 if op.trip else step
        applied = range(end - op.records, end)
        if op.unit in self.trained and applied:
            for buffer in (b for b in op.writes if b.space in WEIGHTS):
                made = (self.at(buffer).made, op.unit, *map(self.record, applied))
                self.buffers[buffer] = Value(hash(made), applied[-1])

    def forward(self, op: Op, step: int) -> None:
        read = [b for b in op.reads if b.space in (*WEIGHTS, BufferSpace.SCRATCH)]
        shifted = [b for b in op.writes if b.space in WEIGHTS]
        (there,) = (b for b in op.writes if b.space is BufferSpace.ACTIVATIONS)
        for sign in op.lanes:
            weights = tuple(self.at(buffer).made for buffer in read)
            made = hash((self.hidden[there, sign], op.unit, weights, sign))
            self.hidden[there, sign] = made
            for buffer in shifted:
                made, newest = self.at(buffer)
                self.buffers[buffer] = Value(hash((made, sign, step)), newest)
        self.build(op)

    def build(self, op: Op) -> None:
        read = [b for b in op.reads if b.space in (*WEIGHTS, BufferSpace.SCRATCH)]
        for buffer in (b for b in op.writes if b.space is BufferSpace.SCRATCH):
            built = tuple(self.at(b).made for b in read), op.unit, op.lanes, buffer
            self.buffers[buffer] = Value(hash(built))


def outcome(
    program: Program,
    flush_after: Callable[[int], Schedule],
    trained: frozenset[int],
    homes: Iterable[Buffer],
) -> object:
    """Every loss, the journal, and after each step what a flush keeps and an evaluation sees."""
    machine, kept = Machine(trained), list[object]()
    steps = (program.prologue, *(program.period,) * (PERIODS - 1))
    done = 0
    try:
        for part in steps:
            for step in range(part.steps):
                _run_step(machine, part, step, done)
                done += 1
                kept.append(_stopped(machine.copy(), flush_after(done), program, homes, done))
    except Crashed:
        return "crashed"
    return machine.records, machine.journal, kept


def _run_step(machine: Machine, part: Schedule, step: int, number: int) -> None:
    """As the executor does: in issue order, as long as operations belong to the step."""
    first = next((i for i, op in enumerate(part.ops) if op.step >= step), len(part.ops))
    if any(op.step < step for op in part.ops[first:]):
        raise Crashed
    for op in part.ops[first:]:
        if op.step == step:
            machine.run(op, number)
    if number not in machine.records:
        raise Crashed


def _stopped(
    machine: Machine, flush: Schedule, program: Program, homes: Iterable[Buffer], done: int
) -> object:
    for op in flush.ops:
        machine.run(op, done)
    machine.hidden.clear()
    kept = [machine.at(buffer).made for buffer in homes]
    for op in program.evaluate.ops:
        machine.run(op, done)
    return kept, sorted(made for (_, sign), made in machine.hidden.items() if sign == "0")
