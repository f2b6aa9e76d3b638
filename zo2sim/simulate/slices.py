"""A trace in whole ticks of some clock, as files of traces hold it: slices never overlap."""

from dataclasses import dataclass

from zo2sim.schedule.ops import Track
from zo2sim.simulate.trace import Span, Trace


@dataclass(frozen=True, slots=True)
class Slice:
    """A span in ticks."""

    span: Span
    start: int
    end: int

    @property
    def last(self) -> int:
        """The last instant that is still inside: a viewer takes the end to be outside."""
        return self.end - 1


def slices_of(trace: Trace, ticks_per_s: float) -> tuple[Slice, ...]:
    """In issue order. A start before the end of the track's previous slice moves there.

    Raises ``OverflowError`` for a time without an end.
    """
    ends: dict[Track, int] = {}
    slices: list[Slice] = []
    for span in trace.spans:
        start = max(round(span.start_s * ticks_per_s), ends.get(span.op.track, 0))
        end = max(round(span.end_s * ticks_per_s), start)
        ends[span.op.track] = end
        slices.append(Slice(span, start, end))
    return tuple(slices)
