"""The race verifier: proves a program safe from what its operations declare that they touch.

Two accesses to one buffer conflict when at least one of them writes. Every conflicting pair must
be ordered by tracks, edges and what follows from them; otherwise some legal execution swaps the
two. That is the happens-before relation of Lamport (CACM 21(7), 1978), decided with vector clocks
(Mattern 1988): per operation, how many operations of each track have surely ended before it.

Two writes must be ordered even if nobody reads in between: nothing promises that a copy is
atomic, and two at once would leave a mixture.
"""

from collections import defaultdict
from collections.abc import Iterator

from zo2sim.schedule.completeness import Task, check_complete
from zo2sim.schedule.hazard import Hazard, HazardKind, once, place
from zo2sim.schedule.ops import Buffer, BufferSpace, Program, Track
from zo2sim.schedule.unroll import Unrolled, unroll
from zo2sim.schedule.versions import FlushAfter, check_versions

__all__ = ["Hazard", "Task", "columns_of", "happens_before", "races", "unfulfilled", "verify"]


def verify(
    program: Program, *, num_slots: int | None = None, periods: int = 3
) -> tuple[Hazard, ...]:
    """Every race of a program, and every slot number that is not below ``num_slots``.

    The prologue and ``periods - 1`` periods follow each other without a pause; flush and
    evaluation start on an idle machine. Each pair of names is reported once. Empty when clean.
    """
    parts = (unroll(program, periods=periods), unroll(program.flush), unroll(program.evaluate))
    return once(hazard for part in parts for hazard in (*races(part), *_excess(part, num_slots)))


def unfulfilled(program: Program, task: Task, flush_after: FlushAfter) -> tuple[Hazard, ...]:
    """Everything that a program leaves out, repeats or does to other weights than its model asks.

    What `verify` does not look at: the issue order itself. Empty when there is nothing.
    """
    return (*check_complete(program, task), *check_versions(program, task, flush_after))


def races(unrolled: tuple[Unrolled, ...]) -> Iterator[Hazard]:
    """Each unordered conflicting pair whose order does not follow from that of other pairs.

    Once all reported pairs are ordered, every conflicting pair is: a read is compared with the
    last write, a write with the reads since, or without any with the last write. Takes time
    linear in the number of operations.
    """
    columns = columns_of(unrolled)
    clocks = _clocks(unrolled, columns)
    accesses = _Accesses()
    for index, second in enumerate(unrolled):
        for kind, buffer, before in accesses.conflicts(second):
            first = unrolled[before]
            if clocks[index][columns[before]] <= first.position:
                words = _race_in_words(kind, first, second, buffer)
                yield Hazard(kind=kind, first=first, second=second, buffer=buffer, words=words)
        accesses.record(index, second)


def columns_of(unrolled: tuple[Unrolled, ...]) -> list[int]:
    """Per operation, the number of its track, in the order in which tracks appear."""
    numbers: dict[Track, int] = {}
    return [numbers.setdefault(item.op.track, len(numbers)) for item in unrolled]


def happens_before(unrolled: tuple[Unrolled, ...]) -> list[tuple[int, ...]]:
    """A vector clock per operation: one count per track, by `columns_of`, itself included.

    Operation a ends before b starts iff b's count for a's track exceeds a's ``position``.
    """
    return _clocks(unrolled, columns_of(unrolled))


def _clocks(unrolled: tuple[Unrolled, ...], columns: list[int]) -> list[tuple[int, ...]]:
    nothing = (0,) * len({*columns})
    clocks: list[tuple[int, ...]] = []
    joined: dict[tuple[int, ...], tuple[int, ...]] = {}
    for item, own in zip(unrolled, columns, strict=True):
        clock = nothing if item.track_prev is None else clocks[item.track_prev]
        edges = item.deps if item.track_prev is None else item.deps[1:]
        if edges:
            if edges not in joined:  # what several operations wait for
                joined[edges] = _joined(*(clocks[target] for target in edges))
            clock = _joined(clock, joined[edges])
        clocks.append((*clock[:own], item.position + 1, *clock[own + 1 :]))
    return clocks


def _joined(*clocks: tuple[int, ...]) -> tuple[int, ...]:
    """How many of every track have ended when all of these have."""
    return clocks[0] if len(clocks) == 1 else tuple(map(max, *clocks))


class _Accesses:
    """Per buffer the last writer, and the last reader since on every track."""

    def __init__(self) -> None:
        self._writer: dict[Buffer, int] = {}
        self._readers: defaultdict[Buffer, dict[Track, int]] = defaultdict(dict)

    def conflicts(self, item: Unrolled) -> Iterator[tuple[HazardKind, Buffer, int]]:
        for buffer in item.op.reads:
            if buffer in self._writer:
                yield "RAW", buffer, self._writer[buffer]
        for buffer in item.op.writes:
            for reader in self._readers[buffer].values():
                yield "WAR", buffer, reader
            unread = not self._readers[buffer] and buffer not in item.op.reads
            if unread and buffer in self._writer:
                yield "WAW", buffer, self._writer[buffer]

    def record(self, index: int, item: Unrolled) -> None:
        for buffer in item.op.reads:
            self._readers[buffer][item.op.track] = index
        for buffer in item.op.writes:
            self._writer[buffer] = index
            self._readers[buffer] = {}


_WRONG = {
    "RAW": "may read {buffer} before {first} has written it",
    "WAR": "may overwrite {buffer} before {first} has read it",
    "WAW": "may write {buffer} before {first} has, whose content would then stay",
}


def _race_in_words(kind: HazardKind, first: Unrolled, second: Unrolled, buffer: Buffer) -> str:
    wrong = _WRONG[kind].format(buffer=buffer, first=place(first))
    periods_back = second.period - first.period
    if periods_back > 1:
        return (
            f"{place(second)} {wrong}; no edge reaches {periods_back} periods back: "
            f"add a path of edges from {first.name} to {second.name}"
        )
    return (
        f"{place(second)} {wrong}; add the edge {second.name} <- {first.name}{'^' * periods_back}"
    )


def _excess(unrolled: tuple[Unrolled, ...], num_slots: int | None) -> Iterator[Hazard]:
    if num_slots is None:
        return
    for item in unrolled:
        op = item.op
        named = () if op.slot is None else (Buffer(BufferSpace.SLOT, op.slot, op.device),)
        for buffer in (*op.reads, *op.writes, *named):
            if buffer.space is BufferSpace.SLOT and buffer.number >= num_slots:
                words = (
                    f"{place(item)} uses {buffer}, but the plan has {num_slots} "
                    f"(slot:0 to slot:{num_slots - 1}); use a lower slot or raise num_slots"
                )
                yield Hazard(kind="capacity", second=item, buffer=buffer, words=words)
