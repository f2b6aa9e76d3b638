"""Edges from accesses: the fewest waits that order every conflicting pair of operations.

A policy declares what each operation reads and writes, in issue order. Two operations conflict when
they touch the same buffer and one of them writes it. This module turns the conflicts into edges and
leaves out those that the order of tracks or other edges already imply. `zo2sim.schedule.verify`
proves the result by another route and does not rely on it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from zo2sim.schedule.ops import Buffer, Op, Track

_PERIODS = 3  # the third period's edges are those of the steady state


def with_edges(ops: Sequence[Op], *, cyclic: bool) -> tuple[Op, ...]:
    """``ops`` with complete edges; an ``after`` that an operation already has is kept in force.

    With ``cyclic`` the operations repeat, and edges to the previous period carry ``^``.
    """
    walk = _Walk([op.name for op in ops])
    edges: list[tuple[str, ...]] = []
    for _ in range(_PERIODS if cyclic else 1):
        index = {name: walk.count + i for i, name in enumerate(walk.names)}
        edges = [walk.step(op, index) for op in ops]
    return tuple(replace(op, after=after) for op, after in zip(ops, edges, strict=True))


@dataclass(slots=True)
class _Walk:
    """Accesses and clocks so far; a clock is, per track, how many operations surely ended."""

    names: Sequence[str]
    """Of the operations of a period."""
    count: int = 0
    clocks: list[dict[Track, int]] = field(default_factory=lambda: [])
    places: list[tuple[Track, int]] = field(default_factory=lambda: [])
    last_on: dict[Track, int] = field(default_factory=lambda: {})
    writer: dict[Buffer, int] = field(default_factory=lambda: {})
    readers: defaultdict[Buffer, list[int]] = field(default_factory=lambda: defaultdict(list))

    def step(self, op: Op, index: dict[str, int]) -> tuple[str, ...]:
        """Add ``op``; return the edges that it needs, latest first."""
        previous = self.last_on.get(op.track)
        clock = dict(self.clocks[previous]) if previous is not None else {}
        wanted = {*self._conflicts(op), *self._asked(op, index)}
        edges: list[str] = []
        for target in sorted(wanted, reverse=True):
            track, place = self.places[target]
            if clock.get(track, 0) < place:
                edges.append(self._edge(target))
                _join(clock, self.clocks[target])
        self._record(op, clock)
        return tuple(edges)

    def _conflicts(self, op: Op) -> Iterator[int]:
        for buffer in (*op.reads, *op.writes):
            if buffer in self.writer:
                yield self.writer[buffer]
        for buffer in op.writes:
            yield from self.readers[buffer]

    def _asked(self, op: Op, index: dict[str, int]) -> Iterator[int]:
        for edge in op.after:
            shift = len(self.names) if edge.endswith("^") else 0
            target = index[edge.removesuffix("^")] - shift
            if target >= 0:
                yield target

    def _edge(self, target: int) -> str:
        periods, place = divmod(target, len(self.names))
        periods_back, name = self.count // len(self.names) - periods, self.names[place]
        assert periods_back <= 1, f"{name} is waited on from {periods_back} periods later"
        return name + "^" * periods_back

    def _record(self, op: Op, clock: dict[Track, int]) -> None:
        track = op.track
        place = clock[track] = clock.get(track, 0) + 1
        self.clocks.append(clock)
        self.places.append((track, place))
        self.last_on[track] = self.count
        for buffer in op.reads:
            self.readers[buffer].append(self.count)
        for buffer in op.writes:
            self.writer[buffer] = self.count
            self.readers[buffer] = []
        self.count += 1


def _join(clock: dict[Track, int], other: dict[Track, int]) -> None:
    for track, place in other.items():
        clock[track] = max(clock.get(track, 0), place)
