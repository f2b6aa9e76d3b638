"""An exhaustive oracle for the race verifier: it runs every legal order of a small program.

A buffer's version is the operation that wrote it last. In issue order every access observes some
version: a read the one that it reads, a write the one that it replaces (so two writes that nobody
reads between must not be swapped either). A program is safe if every legal order shows every
access the version that it observes in issue order; the last writers then agree too.

Operations are atomic. An order is legal if it keeps that of tracks, and edges. Orders are explored
as paths through states: how far each track has come, and who wrote each buffer last. What can
still happen depends on nothing else, so a state is visited once and the search stays exhaustive.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zo2sim.schedule.unroll import Unrolled

INITIAL = -1
"""The version of a buffer that nobody has written yet."""


class Observation(NamedTuple):
    """An access in some legal order, and the writer that it ought to have observed."""

    reader: str
    expected: str
    observed: str


class State(NamedTuple):
    """Operations done, as a bit set, and the last writer of each buffer."""

    done: int
    writers: tuple[int, ...]


def first_violation(unrolled: tuple[Unrolled, ...]) -> Observation | None:
    """Some access that observes a wrong version in some legal order, or None if there is none."""
    return Oracle(unrolled).search()


class Oracle:
    """The program as small integers: buffers by number, sets of operations as bit sets."""

    def __init__(self, unrolled: tuple[Unrolled, ...]) -> None:
        self.names = [f"{item.name} of period {item.period}" for item in unrolled]
        buffers = sorted({b for item in unrolled for b in (*item.op.reads, *item.op.writes)})
        number = {buffer: i for i, buffer in enumerate(buffers)}
        self.writes = [[number[b] for b in {*item.op.writes}] for item in unrolled]
        self.touches = [[number[b] for b in {*item.op.reads, *item.op.writes}] for item in unrolled]
        self.needs = [_bits(item.deps) for item in unrolled]
        tracks = {item.op.track for item in unrolled}
        self.tracks = [_bits(i for i, u in enumerate(unrolled) if u.op.track == t) for t in tracks]
        self.start = State(0, (INITIAL,) * len(buffers))
        self.expected = self._in_issue_order()

    def _in_issue_order(self) -> list[list[int]]:
        state, seen = self.start, list[list[int]]()
        for op in range(len(self.names)):
            seen.append(self._observed(state, op))
            state = self._run(state, op)
        return seen

    def search(self) -> Observation | None:
        seen, stack = {self.start}, [self.start]
        while stack:
            state = stack.pop()
            for op in self._startable(state):
                observed = self._observed(state, op)
                if observed != self.expected[op]:
                    return self._report(op, observed)
                after = self._run(state, op)
                if after not in seen:
                    seen.add(after)
                    stack.append(after)
        return None

    def _startable(self, state: State) -> Iterator[int]:
        """The next operation of each track whose edges are satisfied."""
        for track in self.tracks:
            waiting = track & ~state.done
            op = (waiting & -waiting).bit_length() - 1
            if waiting and self.needs[op] & ~state.done == 0:
                yield op

    def _observed(self, state: State, op: int) -> list[int]:
        return [state.writers[buffer] for buffer in self.touches[op]]

    def _run(self, state: State, op: int) -> State:
        writers = list(state.writers)
        for buffer in self.writes[op]:
            writers[buffer] = op
        return State(state.done | 1 << op, tuple(writers))

    def _report(self, op: int, observed: list[int]) -> Observation:
        pairs = zip(self.expected[op], observed, strict=True)
        expected, wrong = next((a, b) for a, b in pairs if a != b)
        return Observation(self.names[op], self._name(expected), self._name(wrong))

    def _name(self, writer: int) -> str:
        return "nobody" if writer == INITIAL else self.names[writer]


def _bits(indices: Iterable[int]) -> int:
    return sum(1 << i for i in set(indices))
