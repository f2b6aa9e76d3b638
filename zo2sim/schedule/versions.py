"""Which weights an operation sees: the issue order, interpreted with version numbers.

The version of a unit's weights is the number of journal records that they contain, and in place
of the signs that they went through. Copies carry it along, an update adds the records that it
applies, LOSS makes a record. The race verifier (`zo2sim.schedule.verify`) proves that every legal
execution sees what the issue order sees; this module proves that what the issue order sees is
what the model asks for (`zo2sim.schedule.completeness.Task`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from zo2sim.schedule.completeness import Task
from zo2sim.schedule.hazard import Hazard, lacking, once, place
from zo2sim.schedule.ops import (
    HEAD,
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

_PER_UNIT = (BufferSpace.HOST, BufferSpace.NVME, BufferSpace.RESIDENT)
_WEIGHTS = (
    *_PER_UNIT,
    BufferSpace.SLOT,
    BufferSpace.SLICE,
    BufferSpace.WIRE,
    BufferSpace.STAGE_IN,
    BufferSpace.STAGE_OUT,
)
_MOST_STOPS = 200


FlushAfter = Callable[[int], Schedule]
"""The flush that applies what is pending after so many steps."""


def check_versions(
    program: Program, task: Task, flush_after: FlushAfter | None = None
) -> tuple[Hazard, ...]:
    """Every operation that sees too old, too new or foreign weights; empty when there is none.

    Interprets the prologue and two periods in issue order, with flush and evaluation at their end,
    and with ``flush_after`` after each of their steps, or evenly spread ones where
    there are more than `_MOST_STOPS`. A FORWARD needs the records of all losses before it; an
    update must apply exactly the records that are missing, from buffers that hold them; a WRITE
    needs every record that it contains to be in the journal; a flush leaves all of them wherever
    weights are read from later.
    """
    return once(_followed(program, task, flush_after))


def _followed(program: Program, task: Task, flush_after: FlushAfter | None) -> Iterator[Hazard]:
    state, homes = _State(task), _homes(program)
    steps = chain((program.prologue, program.period, program.period))
    last = steps[-1].step if steps else 0
    every = last + 1 if flush_after is None else 1 + last // _MOST_STOPS
    for step, items in groupby(steps, lambda item: item.step):
        yield from _interpreted(state, items)
        if step == last or step % every == every - 1:
            done = step + 1
            flush = program.flush if flush_after is None else flush_after(done)
            fork = state.fork()
            yield from _interpreted(fork, chain((flush,), step=done))
            yield from _unsaved(fork, flush, homes)
            yield from _interpreted(fork, chain((program.evaluate,), step=done + flush.steps))


def _interpreted(state: "_State", items: Iterable[Unrolled]) -> Iterator[Hazard]:
    for item in items:
        yield from _STEPS[item.op.kind](state, item)


class _Copy(NamedTuple):
    """Weights in some buffer: whose, how many records they contain, and signs gone through."""

    unit: int
    records: int
    passes: int = 0


class _Built(NamedTuple):
    """W in a scratch buffer: of which unit and signs, and after how many losses."""

    unit: int | None
    signs: str
    losses: int

    def serves(self, wanted: "_Built") -> bool:
        """Lanes of some sign find there what they run with."""
        return self._replace(signs="") == wanted._replace(signs="") and wanted.signs in self.signs


class _State:
    """Contents of every buffer after the operations so far; None where nothing is left."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.losses = 0
        self.journalled = 0
        self._passes: Counter[int] = Counter()
        self._records: dict[Buffer, int] = {}
        self._copies: dict[Buffer, _Copy | None] = {}
        self.built: dict[Buffer, _Built] = {}

    def fork(self) -> "_State":
        """A state of its own that starts from here."""
        new = _State(self.task)
        new.losses, new.journalled, new._passes = self.losses, self.journalled, self._passes
        new.built = dict(self.built)
        new._records, new._copies = dict(self._records), dict(self._copies)
        return new

    def wanted(self, unit: int) -> _Copy:
        """The weights that every operation so far asks for."""
        records = self.losses if unit in self.task.trained else 0
        return _Copy(unit, records, self._passes[unit])

    def at(self, buffer: Buffer) -> _Copy | None:
        first = _Copy(buffer.number, 0) if buffer.space in _PER_UNIT else None
        return self._copies.get(buffer, first)

    def put(self, buffers: tuple[Buffer, ...], copy: _Copy | None) -> None:
        for buffer in buffers:
            self._copies[buffer] = copy

    def build(self, op: Op) -> None:
        """Scratch holds W of the operation's signs: one each, or what serves them all."""
        written = [buffer for buffer in op.writes if buffer.space is BufferSpace.SCRATCH]
        signs = "+-" if len(written) > 1 else [op.lanes]
        for buffer, own in zip(written, signs, strict=False):
            self.built[buffer] = _Built(op.unit, own, self.losses)

    def run(self, op: Op) -> None:
        """A FORWARD's signs have changed the weights that they asked for, where they were."""
        signs = len(op.lanes.strip("0"))
        assert op.unit is not None, f"{op.name} is about a unit"
        for unit in self.task.passed(op.unit):
            self._passes[unit] += signs
        for buffer in _weights(op.writes):
            if (copy := self.at(buffer)) is not None:
                self._copies[buffer] = copy._replace(passes=copy.passes + signs)

    def lose(self, buffers: tuple[Buffer, ...]) -> None:
        """A new record; without a buffer for it (evaluation) there is none."""
        for buffer in buffers:
            self._records[buffer] = self.losses
        self.losses += bool(buffers)

    def append(self, buffers: tuple[Buffer, ...]) -> None:
        """The journal grows by the record in ``buffers`` if it is the next one."""
        self.journalled += any(self._records.get(b) == self.journalled for b in buffers)

    def unread(self, op: Op, applied: range) -> list[int]:
        """Records among ``applied`` that no buffer that ``op`` reads holds."""
        held = {self._records.get(buffer) for buffer in op.reads}
        return [record for record in applied if record not in held]


def _weights(buffers: tuple[Buffer, ...]) -> tuple[Buffer, ...]:
    return tuple(b for b in buffers if b.space in _WEIGHTS)


def _stale(item: Unrolled, buffer: Buffer, words: str) -> Hazard:
    return Hazard(kind="stale", second=item, buffer=buffer, words=f"{place(item)} {words}")


def _homes(program: Program) -> frozenset[Buffer]:
    """Where weights are kept: places of a unit's own that something reads."""
    parts = (program.prologue, program.period, program.flush, program.evaluate)
    reads = {buffer for part in parts for op in part.ops for buffer in op.reads}
    return frozenset(buffer for buffer in reads if buffer.space in _PER_UNIT)


def _unsaved(state: _State, flush: Schedule, homes: frozenset[Buffer]) -> Iterator[Hazard]:
    """What a flush has not brought home: the update, or the copy, that is missing from it."""
    for buffer in sorted(homes):
        found, wanted = state.at(buffer), state.wanted(buffer.number)
        if found != wanted:
            words = (
                f"{flush.name} leaves {_described(found)} there, but must leave "
                f"{_described(wanted)}; write back what has changed"
            )
            missing = Op(kind=Kind.UPDATE, stream=Stream.COMPUTE, unit=buffer.number)
            yield Hazard(kind="stale", second=lacking(missing), buffer=buffer, words=words)


def _foreign(state: _State, item: Unrolled, buffer: Buffer) -> Iterator[Hazard]:
    """Wrong unit or nothing at all; the interpretation then goes on with the right weights.

    A unit's own weights are asked for, and of the head those that others borrow to run.
    """
    unit = item.op.unit
    assert unit is not None, f"{item.name} touches weights but has no unit"
    borrowed = buffer.space is BufferSpace.RESIDENT and buffer.number == HEAD
    if item.op.kind in (Kind.BUILD, Kind.FORWARD) and borrowed:
        unit = HEAD
    found = state.at(buffer)
    if found is None or found.unit != unit:
        held = "nothing" if found is None else f"unit {unit_name(found.unit)}"
        words = (
            f"needs unit {unit_name(unit)}, but {buffer} holds {held}; copy the unit there first"
        )
        yield _stale(item, buffer, words)
        state.put((buffer,), state.wanted(unit))


def _allocate(state: _State, item: Unrolled) -> Iterator[Hazard]:
    state.put(_weights(item.op.writes), None)
    yield from ()


def _copy(state: _State, item: Unrolled) -> Iterator[Hazard]:
    """READ, H2D, D2H, WRITE and ENCODE: the weights written are those read.

    A slot that only a slice of comes to holds nothing that anyone could use.
    """
    for source in _weights(item.op.reads):
        yield from _foreign(state, item, source)
        copy = state.at(source)
        if item.op.kind is Kind.WRITE and copy is not None and copy.records > state.journalled:
            words = (
                f"stores {_records(copy.records)}, but the journal holds {state.journalled}; "
                f"wait for the JOURNAL of every record first"
            )
            yield _stale(item, source, words)
        written = _weights(item.op.writes)
        slices = tuple(b for b in written if b.space is BufferSpace.SLICE)
        state.put(written, None if slices else copy)
        state.put(slices, copy)


def _gather(state: _State, item: Unrolled) -> Iterator[Hazard]:
    """All slices make the weights, which are as old as the oldest of them."""
    slices = _weights(item.op.reads)
    if len(slices) != state.task.slices:
        words = f"gathers {len(slices)} of {state.task.slices} slices; read every device's"
        yield _stale(item, item.op.writes[0], words)
    for source in slices:
        yield from _foreign(state, item, source)
    copies = [copy for source in slices if (copy := state.at(source)) is not None]
    state.put(_weights(item.op.writes), min(copies, default=None))


def _in_scratch(state: _State, item: Unrolled) -> Iterator[Hazard]:
    """What a group's lanes find there must be their sign's W, of their unit and step."""
    wanted = _Built(item.op.unit, item.op.lanes, state.losses)
    for buffer in item.op.reads:
        if buffer.space is BufferSpace.SCRATCH:
            found = state.built.get(buffer)
            if found is None or not found.serves(wanted):
                words = f"finds other weights in {buffer} than those of its lanes; build them first"
                yield _stale(item, buffer, words)


def _forward(state: _State, item: Unrolled) -> Iterator[Hazard]:
    yield from _in_scratch(state, item)
    yield from _build(state, item)
    state.run(item.op)


def _build(state: _State, item: Unrolled) -> Iterator[Hazard]:
    """W is made of weights with every record."""
    for buffer in _weights(item.op.reads):
        yield from _foreign(state, item, buffer)
        found = state.at(buffer)
        assert found is not None
        wanted = state.wanted(found.unit)
        if missing := wanted.records - found.records:
            words = (
                f"reads unit {unit_name(found.unit)} with {_records(found.records)}, "
                f"but needs {wanted.records}; apply the missing {missing} first"
            )
            yield _stale(item, buffer, words)
        yield from _other_passes(state, item, buffer)
        state.put((buffer,), wanted)
    state.build(item.op)


def _update(state: _State, item: Unrolled) -> Iterator[Hazard]:
    """Goes on with the right version whatever it finds, so that one mistake is one report."""
    op = item.op
    updated: _Copy | None = None
    for buffer in _weights(op.reads):
        yield from _foreign(state, item, buffer)
        found = state.at(buffer)
        assert found is not None
        wanted = state.wanted(found.unit)
        missing = wanted.records - found.records
        if found.unit in state.task.trained and op.records != missing:
            words = (
                f"applies {_records(op.records)} to unit {unit_name(found.unit)} with "
                f"{found.records} of {state.losses}; it must apply {missing}"
            )
            yield _stale(item, buffer, words)
        elif unread := state.unread(op, range(found.records, wanted.records)):
            words = f"must apply the record of step {unread[0]}, which no buffer it reads holds"
            yield _stale(item, buffer, words)
        yield from _other_passes(state, item, buffer)
        updated = wanted
    state.put(_weights(op.writes), updated)


def _other_passes(state: _State, item: Unrolled, buffer: Buffer) -> Iterator[Hazard]:
    """In place a sign leaves other weights behind, and what comes next starts from those."""
    found = state.at(buffer)
    assert found is not None
    wanted = state.wanted(found.unit)
    if found.passes != wanted.passes:
        words = (
            f"reads unit {unit_name(found.unit)} after {found.passes} signs in place, but needs "
            f"it after {wanted.passes}; keep what every sign has left"
        )
        yield _stale(item, buffer, words)


def _lose(state: _State, item: Unrolled) -> Iterator[Hazard]:
    state.lose(item.op.writes)
    yield from ()


def _send(state: _State, item: Unrolled) -> Iterator[Hazard]:
    """Activations are no weights: `zo2sim.schedule.completeness` follows them."""
    yield from ()


def _journal(state: _State, item: Unrolled) -> Iterator[Hazard]:
    state.append(item.op.reads)
    yield from ()


def _described(copy: _Copy | None) -> str:
    if copy is None:
        return "nothing"
    signs = f" and {copy.passes} signs in place" if copy.passes else ""
    return f"unit {unit_name(copy.unit)} with {_records(copy.records)}{signs}"


def _records(count: int) -> str:
    return f"{count} record" if count == 1 else f"{count} records"


_STEPS: dict[Kind, Callable[[_State, Unrolled], Iterator[Hazard]]] = {
    Kind.READ: _copy,
    Kind.ALLOC: _allocate,
    Kind.H2D: _copy,
    Kind.UPDATE: _update,
    Kind.BUILD: _build,
    Kind.FORWARD: _forward,
    Kind.SEND: _send,
    Kind.GATHER: _gather,
    Kind.D2H: _copy,
    Kind.WRITE: _copy,
    Kind.ENCODE: _copy,
    Kind.HOST_UPDATE: _update,
    Kind.LOSS: _lose,
    Kind.JOURNAL: _journal,
}
