"""Edges from accesses: the fewest waits that order every conflicting pair of operations.

A policy declares what each operation reads and writes, in issue order. Two operations conflict when
they touch the same buffer and one of them writes it. This module turns the conflicts into edges and
leaves out those that the order of tracks or other edges already imply. `zo2sim.schedule.verify`
proves the result by another route and does not rely on it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from zo2sim.schedule.ops import Buffer, Op, Track

_PERIODS = 3  # the third period's edges are those of the steady state


def with_edges(ops: Sequence[Op], *, cyclic: bool) -> tuple[Op, ...]:
    """``ops`` with complete edges; an ``after`` that an operation already has is kept in force.

    With ``cyclic`` the operations repeat, and edges to the previous period carry ``^``.
    """
    walk = _Walk.of(ops)
    edges: list[tuple[str, ...]] = []
    for _ in range(_PERIODS if cyclic else 1):
        edges = [walk.step(op, column) for op, column in zip(ops, walk.columns, strict=True)]
    return tuple(
        op if op.after == after else replace(op, after=after)
        for op, after in zip(ops, edges, strict=True)
    )


@dataclass(slots=True)
class _Walk:
    """Accesses and clocks so far; a clock is, per track, how many operations surely ended."""

    names: Sequence[str]
    """Of the operations of a period."""
    index: Mapping[str, int]
    """Position of each of them."""
    columns: Sequence[int]
    """Number of the track of each of them."""
    start: tuple[int, ...]
    """A clock at which nothing has ended."""
    count: int = 0
    clocks: list[tuple[int, ...]] = field(default_factory=lambda: [])
    places: list[tuple[int, int]] = field(default_factory=lambda: [])
    last_on: dict[int, int] = field(default_factory=lambda: {})
    writer: dict[Buffer, int] = field(default_factory=lambda: {})
    readers: defaultdict[Buffer, list[int]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, ops: Sequence[Op]) -> "_Walk":
        numbers: dict[Track, int] = {}
        columns = [numbers.setdefault(op.track, len(numbers)) for op in ops]
        names = [op.name for op in ops]
        return cls(
            names,
            {name: position for position, name in enumerate(names)},
            columns,
            (0,) * len(numbers),
        )

    def step(self, op: Op, column: int) -> tuple[str, ...]:
        """Add ``op`` on its track; return the edges that it needs, latest first."""
        previous = self.last_on.get(column)
        clock = self.start if previous is None else self.clocks[previous]
        wanted = {*self._conflicts(op), *self._asked(op)}
        edges: list[int] = []
        for target in sorted(wanted, reverse=True):
            track, place = self.places[target]
            if clock[track] < place:
                edges.append(target)
                clock = tuple(map(max, clock, self.clocks[target]))
        named = tuple(map(self._edge, edges))
        self._record(op, column, clock)
        return named

    def _conflicts(self, op: Op) -> Iterator[int]:
        for buffer in (*op.reads, *op.writes):
            if buffer in self.writer:
                yield self.writer[buffer]
        for buffer in op.writes:
            yield from self.readers[buffer]

    def _asked(self, op: Op) -> Iterator[int]:
        size = len(self.names)
        start = self.count - self.count % size
        for edge in op.after:
            target = start + self.index[edge.removesuffix("^")] - size * edge.endswith("^")
            if target >= 0:
                yield target

    def _edge(self, target: int) -> str:
        size = len(self.names)
        periods, position = divmod(target, size)
        periods_back, name = self.count // size - periods, self.names[position]
        assert periods_back <= 1, f"{name} is waited on from {periods_back} periods later"
        return name + "^" * periods_back

    def _record(self, op: Op, column: int, clock: tuple[int, ...]) -> None:
        place = clock[column] + 1
        self.clocks.append((*clock[:column], place, *clock[column + 1 :]))
        self.places.append((column, place))
        self.last_on[column] = self.count
        for buffer in op.reads:
            self.readers[buffer].append(self.count)
        for buffer in op.writes:
            self.writer[buffer] = self.count
            self.readers[buffer] = []
        self.count += 1
