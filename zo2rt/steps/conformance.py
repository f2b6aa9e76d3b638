"""Whether what ran is what was scheduled: every operation, on its track, in its order."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from zo2sim.schedule.ops import Program, Schedule, Track
from zo2sim.simulate.trace import Span


class _Difference(NamedTuple):
    """Something that is not as it was scheduled, and when it was seen."""

    seen_s: float
    message: str


class Conformance:
    """Checks a run as it goes, period by period, from step ``first_step`` on.

    ``divergence`` is the first operation that is missing, too many or out of place, or an edge
    that was broken: the first in time of the first period that has one. None as long as the run
    conforms. Holds the spans of three periods at most.
    """

    def __init__(self, program: Program, *, first_step: int = 0) -> None:
        self._program = program
        self._first_step = first_step
        self._spans: defaultdict[int, list[Span]] = defaultdict(list)
        self._before: list[Span] = []
        self._next = 0
        self.divergence: str | None = None

    def add(self, spans: Iterable[Span]) -> None:
        """Spans that have ended, on each track in the order in which they were launched."""
        for span in spans:
            period = (span.step - self._first_step) // self._program.period.steps
            self._spans[period].append(span)
        while self._is_over(self._next):
            self._check(self._next, end=None)

    def finish(self, num_steps: int) -> None:
        """The run ends before step ``num_steps``; arrivals of later steps do not count."""
        while self._first_step + self._next * self._program.period.steps < num_steps:
            self._check(self._next, end=num_steps)

    def _is_over(self, period: int) -> bool:
        whole = len(self._spans[period]) >= len(self._program.period.ops)
        return whole or period + 2 in self._spans

    def _check(self, period: int, end: int | None) -> None:
        schedule = self._program.period if period else self._program.prologue
        first = self._first_step + period * schedule.steps
        ran = [s for s in self._spans.pop(period, []) if end is None or s.step < end]
        differences = [*_misplaced(schedule, first, ran, end), *self._broken_edges(ran, period)]
        if differences and self.divergence is None:
            self.divergence = min(differences, key=lambda one: one.seen_s).message
        self._before, self._next = ran, period + 1

    def _broken_edges(self, ran: Sequence[Span], period: int) -> Iterator[_Difference]:
        """Operations that started before one that they wait for had ended."""
        ends = {f"{s.op.name}^": s.end_s for s in self._before} if period else {}
        ends |= {s.op.name: s.end_s for s in ran}
        for span in ran:
            for edge in span.op.after:
                if ends.get(edge, span.start_s) > span.start_s:
                    text = f"{span.op.name} of step {span.step} started before {edge} had ended"
                    yield _Difference(span.start_s, text)


def _misplaced(
    schedule: Schedule, first: int, ran: Sequence[Span], end: int | None
) -> Iterator[_Difference]:
    """Where each track first leaves its order."""
    wanted: defaultdict[Track, list[tuple[int, str]]] = defaultdict(list)
    found: defaultdict[Track, list[Span]] = defaultdict(list)
    for op in schedule.ops:
        if end is None or first + op.step < end:
            wanted[op.track].append((first + op.step, op.name))
    for span in sorted(ran, key=lambda span: span.start_s):
        found[span.op.track].append(span)
    for track in {**wanted, **found}:
        yield from _first_misplaced(track, wanted[track], found[track])


def _first_misplaced(
    track: Track, wanted: Sequence[tuple[int, str]], found: Sequence[Span]
) -> Iterator[_Difference]:
    """At most one: what comes after it is out of place too."""
    ran = [(span.step, span.op.name) for span in found]
    for number, (want, got) in enumerate(zip_longest(wanted, ran)):
        if want != got:
            last_s = max((span.end_s for span in found), default=0.0)
            seen_s = last_s if got is None else found[number].start_s
            yield _Difference(seen_s, f"{track}: {_told(want, got)}")
            return


def _told(want: tuple[int, str] | None, got: tuple[int, str] | None) -> str:
    if got is None:
        return f"{_named(want)} is missing"
    if want is None:
        return f"{_named(got)} was not scheduled"
    return f"{_named(want)} was scheduled, {_named(got)} ran in its place"


def _named(item: tuple[int, str] | None) -> str:
    assert item is not None, "one of two that differ is there"
    return f"{item[1]} of step {item[0]}"
