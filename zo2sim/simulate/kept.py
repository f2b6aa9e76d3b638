"""Where the ends of operations are kept while a program is walked, in as little memory as can be.

What the next period waits for has two places, one for odd and one for even periods. Everything
else is needed within its period only, and leaves its place to others when nothing waits for it any
more: thousands of plans then fit a core's cache, whatever the number of operations.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from zo2sim.schedule.ops import Op, Program
from zo2sim.schedule.unroll import Unrolled, unroll
from zo2sim.simulate.work import sees_late

_SHARED = 3  # waits from which on several operations that share them share their maximum


class Row(NamedTuple):
    """One operation: where its end goes, its cost class, where the ends that it waits for are, and,
    of each of those that it sees late, the cost class. Without a cost, the latest of these ends."""

    end: int
    cost: int | None
    deps: tuple[int, ...]
    late: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows of the prologue, and of odd and even periods after it, and how many places they take.

    First come the places of what an even period hands on, then those of an odd one.
    """

    rows: tuple[Sequence[Row], ...]
    size: int


def keep(program: Program, handed_on: Sequence[int], cost: Callable[[Op], int]) -> Kept:
    """Of a program; ``handed_on`` are positions within a period, ``cost`` gives the class."""
    size, count = len(program.period.ops), len(handed_on)
    lasting: dict[object, int] = {position: place for place, position in enumerate(handed_on)}
    items = unroll(program, periods=2)
    first, most = _placed(_nodes(items, range(size), cost), lasting, 2 * count)
    odd = {size + position: count + place for place, position in enumerate(handed_on)}
    later, others = _placed(_nodes(items, range(size, 2 * size), cost), lasting | odd, 2 * count)
    return Kept((first, later, [_swapped(row, count) for row in later]), max(most, others))


def _swapped(row: Row, count: int) -> Row:
    """The row of an even period, from an odd one's: what is handed on is where the other's was."""
    deps = tuple([_turned(dep, count) for dep in row.deps])
    return Row(_turned(row.end, count), row.cost, deps, row.late)


def _turned(place: int, count: int) -> int:
    return (place + count) % (2 * count) if place < 2 * count else place


Wait = tuple[object, int | None]
"""What is waited for, and its cost class where its end is seen late."""


class _Node(NamedTuple):
    """What has an end: an operation by its index, or the latest of several waits by these."""

    key: object
    cost: int | None
    waits: tuple[Wait, ...]


def _nodes(items: Sequence[Unrolled], own: range, cost: Callable[[Op], int]) -> list[_Node]:
    """A period's operations in issue order, what several wait for just before the first of them."""
    edges = {index: _edges(items, index, cost) for index in own}
    users = Counter(waits for waits in edges.values() if len(waits) >= _SHARED)
    known: set[object] = set()
    nodes: list[_Node] = []
    for index, waits in edges.items():
        item = items[index]
        if users[waits] > 1:
            if waits not in known:
                known.add(waits)
                nodes.append(_Node(waits, None, waits))
            waits = ((waits, None),)
        before = () if item.track_prev is None else ((item.track_prev, None),)
        nodes.append(_Node(index, cost(item.op), (*before, *waits)))
    return nodes


def _edges(items: Sequence[Unrolled], index: int, cost: Callable[[Op], int]) -> tuple[Wait, ...]:
    """What an operation waits for beside the one before it on its track."""
    item = items[index]
    if len(item.deps) == 1 and item.track_prev is not None:
        return ()
    track = item.op.track
    befores = [(dep, items[dep].op) for dep in item.deps if dep != item.track_prev]
    return tuple([(dep, cost(op) if sees_late(track, op.track) else None) for dep, op in befores])


def _placed(
    nodes: Sequence[_Node], lasting: Mapping[object, int], first: int
) -> tuple[list[Row], int]:
    """The nodes as rows, and how many places there are. What is not ``lasting`` shares those from
    ``first`` on, each until the last one that waits for it."""
    last_use = {key: number for number, node in enumerate(nodes) for key, _ in node.waits}
    at, free, most = dict(lasting), list[int](), first
    rows: list[Row] = []
    for number, node in enumerate(nodes):
        if node.key not in lasting:
            at[node.key] = free.pop() if free else most
            most = max(most, at[node.key] + 1)
        waited = [key for key, _ in node.waits]
        late = tuple([late for _, late in node.waits])
        rows.append(Row(at[node.key], node.cost, tuple([at[key] for key in waited]), late))
        free += [at[k] for k in waited if last_use[k] == number and k not in lasting]
    return rows, most
