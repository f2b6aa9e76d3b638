"""Two traces beside each other: whether the same happened in the same order, and if not, where.

Durations do not matter here. A trace agrees with another one where every stream ran the same
operations in the same order, and where every edge that the operations declare was kept.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from zo2sim.schedule import Stream
from zo2sim.trace import Span, Trace


class Divergence(NamedTuple):
    """Where two traces part: when, by the second trace's clock, and what differs."""

    time_s: float
    message: str


def first_divergence(expected: Trace, found: Trace) -> str | None:
    """What differs first in time, or None. Steps that only one of them ran do not count."""
    steps = min(_num_steps(expected), _num_steps(found))
    first = min(_divergences(expected, found, steps), default=None, key=_when)
    return None if first is None else first.message


def _divergences(expected: Trace, found: Trace, steps: int) -> Iterator[Divergence]:
    for stream in Stream:
        wanted, got = (_ran(trace, stream, steps) for trace in (expected, found))
        divergence = _in_order(stream, wanted, got)
        if divergence is not None:
            yield divergence
    yield from _broken_edges(found, steps)


def _when(divergence: Divergence) -> float:
    return divergence.time_s


def _num_steps(trace: Trace) -> int:
    return 1 + max((s.step for s in trace.spans if s.op.stream is Stream.COMPUTE), default=-1)


def _ran(trace: Trace, stream: Stream, steps: int) -> list[Span]:
    """In the order in which they started; what started together keeps its place."""
    spans = (s for s in trace.spans if s.op.stream is stream and s.step < steps)
    return sorted(spans, key=lambda span: span.start_s)


def _in_order(stream: Stream, wanted: Sequence[Span], got: Sequence[Span]) -> Divergence | None:
    for want, span in zip(wanted, got, strict=False):
        if (want.step, want.op.name) != (span.step, span.op.name):
            text = f"{stream}: {_named(want)} was expected, {_named(span)} ran in its place"
            return Divergence(span.start_s, text)
    if len(wanted) == len(got):
        return None
    missing = len(wanted) > len(got)
    first = (wanted if missing else got)[min(len(wanted), len(got))]
    last_s = max((s.end_s for s in got), default=0.0) if missing else first.start_s
    text = f"{stream}: {_named(first)} {'is missing' if missing else 'was not expected'}"
    return Divergence(last_s, text)


def _broken_edges(trace: Trace, steps: int) -> Iterator[Divergence]:
    k = trace.steps_per_period
    spans = {(s.step // k, s.op.name): s for s in trace.spans if s.step < steps}
    for (period, _), span in spans.items():
        for edge in span.op.after:
            before = spans.get((period - edge.endswith("^"), edge.removesuffix("^")))
            if before is not None and before.end_s > span.start_s:
                text = f"{_named(span)} started before {_named(before)} had ended"
                yield Divergence(span.start_s, text)


def _named(span: Span) -> str:
    return f"{span.op.name} of step {span.step}"
