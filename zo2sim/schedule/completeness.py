"""What a model asks of any program, and whether a program does all of it.

The race verifier (`zo2sim.schedule.verify`) proves that every legal execution does what the issue
order does, and `zo2sim.schedule.versions` that what the issue order does with weights is right.
This module says what must be done at all. It knows the model, and no policy: a step takes every
lane through every unit in order, turns the losses into one record and makes it durable.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from zo2sim.schedule.hazard import Hazard, lacking, once, place
from zo2sim.schedule.ops import (
    HEAD,
    TAIL,
    Buffer,
    BufferSpace,
    Kind,
    Op,
    Program,
    Schedule,
    Stream,
    unit_name,
)
from zo2sim.schedule.unroll import Unrolled, chain

_LANES = {"+": "W+", "-": "W-", "0": "theta"}
Lanes = tuple[str, int]
"""A sign of a group."""

_STREAMS = {Kind.LOSS: Stream.COMPUTE, Kind.JOURNAL: Stream.HOST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a model and its recipe ask of every program, whatever the plan.

    ``trained`` are the units with anything to train: each record changes each of them once.
    A loss takes ``forwards`` passes over the units. In place, every pass of a sign leaves other
    weights behind, of the head too where a ``tied`` tail reads them, and the signs take turns.
    """

    num_blocks: int
    trained: frozenset[int]
    tied: bool = False
    forwards: int = 1
    in_place: bool = False
    journalled: bool = True
    groups: tuple[str, ...] = ("+-",)
    """The signs of each group of lanes; unperturbed lanes go with W+."""
    slices: int = 1
    """Parts in which a block comes to the devices that gather it."""

    def lanes(self, signs: str) -> frozenset[Lanes]:
        """Who must pass all units: groups with some of ``signs``, and which."""
        unperturbed = signs == "0"
        return frozenset(
            (signs if unperturbed else sign, number)
            for number, own in enumerate(self.groups)
            for sign in own
            if sign in ("+" if unperturbed else signs)
        )

    @property
    def units(self) -> tuple[int, ...]:
        """In execution order."""
        return (HEAD, *range(self.num_blocks), TAIL)

    def passed(self, unit: int) -> tuple[int, ...]:
        """Units whose weights a FORWARD of ``unit`` leaves different."""
        if not self.in_place:
            return ()
        return (unit, HEAD) if self.tied and unit == TAIL else (unit,)


def check_complete(program: Program, task: Task) -> tuple[Hazard, ...]:
    """Every lane that leaves out, repeats or swaps a unit, and every record lost; empty when whole.

    A step must take both signs of every group ``forwards`` times through all units, in order, each
    where its activations are, before its LOSS, which one JOURNAL follows; an evaluation takes the
    unperturbed weights once. What updates and
    copies must have done by then, `zo2sim.schedule.versions` knows.
    """
    steps = (_Part(part, task, "+-", task.forwards) for part in (program.prologue, program.period))
    parts = (*steps, _Part(program.evaluate, task, "0", 1))
    return once(hazard for part in parts for hazard in part.hazards())


@dataclass(slots=True)
class _Part:
    """One schedule, in issue order: LOSSes and JOURNALs so far, and units since: of every group's
    signs, and of what is in a device's activations."""

    schedule: Schedule
    task: Task
    signs: str
    passes: int
    losses: int = 0
    records: int = 0
    step: int = 0
    ran: Counter[Lanes] = field(default_factory=lambda: Counter())
    held: dict[Buffer, int] = field(default_factory=lambda: {})

    def hazards(self) -> Iterator[Hazard]:
        for item in chain((self.schedule,)):
            yield from self._out_of_step(item)
            if item.op.kind is Kind.FORWARD:
                yield from self._forward(item)
            elif item.op.kind is Kind.SEND:
                self._hold(item.op.writes, min(map(self._held, item.op.reads), default=0))
            elif item.op.kind is Kind.LOSS:
                yield from self._loss(item)
            elif item.op.kind is Kind.JOURNAL:
                yield from self._journal(item)
        yield from self._missing(Kind.LOSS, self.losses, self.schedule.steps)
        yield from self._missing(Kind.JOURNAL, self.records, self._wanted(self.losses))

    def _wanted(self, losses: int) -> int:
        """Records that the journal holds after so many losses; an evaluation leaves none."""
        return losses if self.task.journalled and self.signs != "0" else 0

    def _out_of_step(self, item: Unrolled) -> Iterator[Hazard]:
        """Operations come step by step, and a step's lanes before its LOSS."""
        step, over = item.op.step, self.losses - 1
        if step < self.step or (item.op.kind is Kind.FORWARD and step <= over):
            late = max(self.step, over)
            yield _incomplete(item, f"comes too late, after operations of step {late}")
        elif step > self.losses:
            yield _incomplete(item, f"comes before the LOSS of step {self.losses}")
        self.step = max(self.step, step)

    def _forward(self, item: Unrolled) -> Iterator[Hazard]:
        """Goes on as if the right unit had run, so that one mistake is few reports."""
        units, op = self.task.units, item.op
        wanted = self.task.lanes(self.signs)
        for sign in op.lanes:
            lanes = (sign, op.group)
            ran = self.ran[lanes]
            due = units[ran % len(units)]
            if lanes not in wanted:
                yield _incomplete(item, f"runs {self._words(lanes)}, which nobody asks for here")
            elif op.unit != due:
                words = f"runs {self._words(lanes)}, which passes {unit_name(due)} next"
                yield _incomplete(item, words)
            elif self.task.in_place and self._is_early(op, sign, ran):
                yield _incomplete(item, f"runs {_LANES[sign]} in place, but the other sign is next")
            elif any(self._held(buffer) != ran for buffer in _activations(op.reads)):
                words = f"runs {self._words(lanes)}, whose activations are elsewhere: send them"
                yield _incomplete(item, words)
            self.ran[lanes] += 1
        self._hold(op.writes, max((self.ran[sign, op.group] for sign in op.lanes), default=0))

    def _words(self, lanes: Lanes) -> str:
        several = len(self.task.groups) > 1
        return _LANES[lanes[0]] + (f" of group {lanes[1]}" if several else "")

    def _held(self, buffer: Buffer) -> int:
        """Units that the lanes have passed whose activations are there."""
        return self.held.get(buffer, 0)

    def _hold(self, buffers: tuple[Buffer, ...], passed: int) -> None:
        self.held |= dict.fromkeys(_activations(buffers), passed)

    def _is_early(self, op: Op, sign: str, ran: int) -> bool:
        """In place W- starts from W+, and another W+ from what W- has left.

        A head that one sign alone takes is left as that sign has it, for a tied tail to read: the
        other sign has passed its tail by then.
        """
        units = len(self.task.units)
        ahead = units - 1 if self.task.tied and op.unit == HEAD and len(op.lanes) == 1 else 0
        if sign == "-":
            return self.ran["+", op.group] <= ran + ahead
        return sign == "+" and self.ran["-", op.group] <= ran - units + ahead

    def _loss(self, item: Unrolled) -> Iterator[Hazard]:
        wanted = self.passes * len(self.task.units)
        for lanes in sorted(self.task.lanes(self.signs)):
            if self.ran[lanes] != wanted:
                passed = f"{self._words(lanes)} has passed {self.ran[lanes]} of {wanted} units"
                yield _incomplete(item, f"comes after {passed}")
        read = _activations(item.op.reads)
        groups = {group for _, group in self.task.lanes(self.signs)}
        if read and {b.number for b in read if self._held(b) == wanted} != groups:
            yield _incomplete(item, "reads activations that have not passed all units")
        self.ran.clear()
        self.held.clear()
        yield from self._missing(Kind.JOURNAL, self.records, self._wanted(self.losses))
        self.losses += 1

    def _journal(self, item: Unrolled) -> Iterator[Hazard]:
        self.records += 1
        if self.records != self._wanted(self.losses):
            yield _incomplete(item, f"keeps record {self.records} after {self.losses} losses")

    def _missing(self, kind: Kind, count: int, wanted: int) -> Iterator[Hazard]:
        if count < wanted:
            item = lacking(Op(kind=kind, stream=_STREAMS[kind], step=count))
            yield _incomplete(item, f"is missing from {self.schedule.name}")


def _activations(buffers: tuple[Buffer, ...]) -> tuple[Buffer, ...]:
    return tuple(buffer for buffer in buffers if buffer.space is BufferSpace.ACTIVATIONS)


def _incomplete(item: Unrolled, words: str) -> Hazard:
    spaces = {Kind.JOURNAL: BufferSpace.JOURNAL, Kind.LOSS: BufferSpace.RECORD}
    buffer = Buffer(spaces.get(item.op.kind, BufferSpace.ACTIVATIONS))
    return Hazard(kind="incomplete", second=item, buffer=buffer, words=f"{place(item)} {words}")
