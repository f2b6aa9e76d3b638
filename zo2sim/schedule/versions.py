"""Which weights an operation sees: the issue order, interpreted with version numbers.

The version of a unit's weights is the number of journal records that they contain. Copies carry it
along, an update adds the records that it applies, LOSS makes a record. The race verifier
(`zo2sim.schedule.verify`) proves that every legal execution sees what the issue order sees; this
module proves that what the issue order sees is right.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from zo2sim.schedule.hazard import Hazard, once, place
from zo2sim.schedule.ops import Buffer, BufferSpace, Kind, Op, Program, unit_name
from zo2sim.schedule.unroll import Unrolled, chain

_UPDATES = (Kind.UPDATE, Kind.HOST_UPDATE)
_PER_UNIT = (BufferSpace.HOST, BufferSpace.NVME, BufferSpace.RESIDENT)
_WEIGHTS = (
    *_PER_UNIT,
    BufferSpace.SLOT,
    BufferSpace.WIRE,
    BufferSpace.STAGE_IN,
    BufferSpace.STAGE_OUT,
)


def check_versions(program: Program, *, periods: int = 3) -> tuple[Hazard, ...]:
    """Every operation that sees too old, too new or foreign weights; empty when there is none.

    Interprets the prologue, ``periods - 1`` periods, flush and evaluation in issue order. A
    FORWARD needs the records of all losses before it; an update must apply exactly the records
    that are missing, from buffers that hold them; a WRITE needs every record that it contains to
    be in the journal. A unit that is never updated (LoRA's blocks) stays at version 0.
    """
    steady = (program.period,) * (periods - 1)
    items = chain((program.prologue, *steady, program.flush, program.evaluate))
    trained = frozenset(i.op.unit for i in items if i.op.kind in _UPDATES)
    state = _State(trained)
    return once(hazard for item in items for hazard in _STEPS[item.op.kind](state, item))


class _Copy(NamedTuple):
    """Weights in some buffer: whose, and how many records they contain."""

    unit: int
    version: int


class _State:
    """Contents of every buffer after the operations so far."""

    def __init__(self, trained: frozenset[int | None]) -> None:
        self.trained = trained
        self.losses = 0
        self.journalled = 0
        self._records: dict[Buffer, int] = {}
        self._copies: dict[Buffer, _Copy] = {}

    def wanted(self, unit: int) -> _Copy:
        """The weights that every loss so far asks for."""
        return _Copy(unit, self.losses if unit in self.trained else 0)

    def at(self, buffer: Buffer) -> _Copy | None:
        first = _Copy(buffer.number, 0) if buffer.space in _PER_UNIT else None
        return self._copies.get(buffer, first)

    def put(self, buffers: tuple[Buffer, ...], copy: _Copy | None) -> None:
        for buffer in buffers:
            if copy is None:
                self._copies.pop(buffer, None)
            else:
                self._copies[buffer] = copy

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


def _foreign(state: _State, item: Unrolled, buffer: Buffer) -> Iterator[Hazard]:
    """Wrong unit or nothing at all; the interpretation then goes on with the right weights."""
    unit = buffer.number if buffer.space in _PER_UNIT else item.op.unit
    assert unit is not None, f"{item.name} touches weights but has no unit"
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
    """READ, H2D, D2H, WRITE and ENCODE: the weights written are those read."""
    for source in _weights(item.op.reads):
        yield from _foreign(state, item, source)
        copy = state.at(source)
        if item.op.kind is Kind.WRITE and copy is not None and copy.version > state.journalled:
            words = (
                f"stores {_records(copy.version)}, but the journal holds {state.journalled}; "
                f"wait for the JOURNAL of every record first"
            )
            yield _stale(item, source, words)
        state.put(_weights(item.op.writes), copy)


def _forward(state: _State, item: Unrolled) -> Iterator[Hazard]:
    for buffer in _weights(item.op.reads):
        yield from _foreign(state, item, buffer)
        found = state.at(buffer)
        assert found is not None
        wanted = state.wanted(found.unit)
        if missing := wanted.version - found.version:
            words = (
                f"reads unit {unit_name(found.unit)} with {_records(found.version)}, "
                f"but needs {wanted.version}; apply the missing {missing} first"
            )
            yield _stale(item, buffer, words)
            state.put((buffer,), wanted)


def _update(state: _State, item: Unrolled) -> Iterator[Hazard]:
    """Goes on with the right version whatever it finds, so that one mistake is one report."""
    op = item.op
    for buffer in _weights(op.reads):
        yield from _foreign(state, item, buffer)
        found = state.at(buffer)
        assert found is not None
        missing = state.losses - found.version
        if op.records != missing:
            words = (
                f"applies {_records(op.records)} to unit {unit_name(found.unit)} with "
                f"{found.version} of {state.losses}; it must apply {missing}"
            )
            yield _stale(item, buffer, words)
        elif unread := state.unread(op, range(found.version, state.losses)):
            words = f"must apply the record of step {unread[0]}, which no buffer it reads holds"
            yield _stale(item, buffer, words)
        state.put(_weights(op.writes), state.wanted(found.unit))


def _lose(state: _State, item: Unrolled) -> Iterator[Hazard]:
    state.lose(item.op.writes)
    yield from ()


def _journal(state: _State, item: Unrolled) -> Iterator[Hazard]:
    state.append(item.op.reads)
    yield from ()


def _records(count: int) -> str:
    return f"{count} record" if count == 1 else f"{count} records"


_STEPS: dict[Kind, Callable[[_State, Unrolled], Iterator[Hazard]]] = {
    Kind.READ: _copy,
    Kind.ALLOC: _allocate,
    Kind.H2D: _copy,
    Kind.UPDATE: _update,
    Kind.FORWARD: _forward,
    Kind.D2H: _copy,
    Kind.WRITE: _copy,
    Kind.ENCODE: _copy,
    Kind.HOST_UPDATE: _update,
    Kind.LOSS: _lose,
    Kind.JOURNAL: _journal,
}
