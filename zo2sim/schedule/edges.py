"""Edges from accesses: the fewest waits that order every conflicting pair of operations.

A policy declares what each operation reads and writes, in issue order. Two operations conflict when
they touch the same buffer and one of them writes it. This module turns the conflicts into edges and
leaves out those that the order of tracks or other edges already imply. `zo2sim.schedule.verify`
proves the result by another route and does not rely on it.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from zo2sim.schedule.ops import Op, Schedule

_PERIODS = 2
"""An edge reaches one period back, and so does all that it may follow from: the second period's
edges are those of every later one."""
_NOBODY = -1

T = TypeVar("T", bound=Hashable)


def with_edges(ops: Sequence[Op], *, cyclic: bool) -> tuple[Op, ...]:
    """``ops`` with complete edges; an ``after`` that an operation already has is kept in force.

    With ``cyclic`` the operations repeat, and edges to the previous period carry ``^``.
    """
    walk = _Walk(ops)
    edges: list[tuple[str, ...]] = []
    for _ in range(_PERIODS if cyclic else 1):
        edges = [walk.step(access) for access in walk.accesses]
    pairs = zip(ops, edges, strict=True)
    return tuple(op if op.after == after else replace(op, after=after) for op, after in pairs)


def prologue(period: Schedule) -> Schedule:
    """The first period: nothing precedes it, and step s finds at most s records."""
    ops = tuple(map(_with_nothing_before, period.ops))
    return replace(period, name=period.name.replace("period", "prologue"), ops=ops)


def _with_nothing_before(op: Op) -> Op:
    after = tuple(edge for edge in op.after if not edge.endswith("^"))
    records = op.records if op.trip or op.unit is None else min(op.records, op.step)
    same = records == op.records and len(after) == len(op.after)
    return op if same else replace(op, after=after, records=records)


@dataclass(frozen=True, slots=True)
class _Access:
    """An operation's track, and the buffers that it reads and writes, by number, as whole numbers
    are compared fastest; of what it asks to wait for, how far back in the walk that is."""

    track: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    asked: tuple[int, ...]


class _Walk:
    """Accesses and clocks so far; a clock is, per track, how many operations surely ended."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self._names = [op.name for op in ops]
        places = {name: place for place, name in enumerate(self._names)}
        tracks = _numbers(op.track for op in ops)
        buffers = _numbers(buffer for op in ops for buffer in (*op.reads, *op.writes))
        self.accesses = tuple(
            _Access(
                tracks[op.track],
                tuple(map(buffers.__getitem__, op.reads)),
                tuple(map(buffers.__getitem__, op.writes)),
                tuple(_distances(op, places)),
            )
            for op in ops
        )
        self._clocks: list[list[int]] = []
        self._on: list[int] = []  # the track of every operation so far
        self._clock_of = [[0] * len(tracks) for _ in tracks]  # of the last one on each track
        self._writer = [_NOBODY] * len(buffers)
        self._readers: list[list[int]] = [[] for _ in buffers]

    def step(self, access: _Access) -> tuple[str, ...]:
        """Add an operation; return the edges that it needs, latest first."""
        clock = self._clock_of[access.track].copy()
        edges: list[str] = []
        for target in sorted(self._wanted(access), reverse=True):
            track, then = self._on[target], self._clocks[target]
            if clock[track] < then[track]:
                edges.append(self._edge(target))
                clock = list(map(max, clock, then))
        self._record(access, clock)
        return tuple(edges)

    def _wanted(self, access: _Access) -> set[int]:
        """What it conflicts with, and what it asks for."""
        wanted = {self._writer[buffer] for buffer in (*access.reads, *access.writes)}
        for buffer in access.writes:
            wanted.update(self._readers[buffer])
        wanted.update(max(_NOBODY, len(self._on) - distance) for distance in access.asked)
        wanted.discard(_NOBODY)
        return wanted

    def _edge(self, target: int) -> str:
        periods, place = divmod(target, len(self._names))
        periods_back, name = len(self._on) // len(self._names) - periods, self._names[place]
        assert periods_back <= 1, f"{name} is waited on from {periods_back} periods later"
        return name + "^" * periods_back

    def _record(self, access: _Access, clock: list[int]) -> None:
        clock[access.track] += 1
        number = len(self._on)
        self._clocks.append(clock)
        self._on.append(access.track)
        self._clock_of[access.track] = clock
        for buffer in access.reads:
            self._readers[buffer].append(number)
        for buffer in access.writes:
            self._writer[buffer] = number
            self._readers[buffer] = []


def _numbers(things: Iterable[T]) -> dict[T, int]:
    return {thing: number for number, thing in enumerate(dict.fromkeys(things))}


def _distances(op: Op, places: Mapping[str, int]) -> Iterator[int]:
    for edge in op.after:
        periods = len(places) if edge.endswith("^") else 0
        yield places[op.name] + periods - places[edge.removesuffix("^")]
