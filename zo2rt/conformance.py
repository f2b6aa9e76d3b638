"""Whether what ran is what was scheduled: every operation, on its stream, in its order."""

from collections.abc import Iterable, Sequence

from zo2sim.schedule import Program, Stream
from zo2sim.trace import Span
from zo2sim.unroll import unroll


def first_divergence(program: Program, spans: Iterable[Span]) -> str | None:
    """The first operation that is missing, too many or out of place, or an edge that was broken.

    ``spans`` are those of a run from step 0 on, without a flush in between. Arrivals of a step
    that has not come yet do not count. None where the run conforms.
    """
    ran = [*spans]
    num_steps = 1 + max((s.step for s in ran if s.op.stream is Stream.COMPUTE), default=-1)
    ran = [span for span in ran if span.step < num_steps]
    periods = -(-num_steps // program.period.steps)
    planned = unroll(program, periods=periods) if periods else ()
    for stream in Stream:
        wanted = [(i.step, i.name) for i in planned if i.op.stream is stream and i.step < num_steps]
        found = sorted((s for s in ran if s.op.stream is stream), key=lambda span: span.start_s)
        message = _compared(stream, wanted, [(s.step, s.op.name) for s in found])
        if message is not None:
            return message
    return _broken_edge(program, ran)


def _compared(
    stream: Stream, wanted: Sequence[tuple[int, str]], found: Sequence[tuple[int, str]]
) -> str | None:
    for want, got in zip(wanted, found, strict=False):
        if want != got:
            return f"{stream}: {_named(want)} was scheduled, {_named(got)} ran in its place"
    if len(wanted) != len(found):
        return f"{stream}: {len(wanted)} operations were scheduled, {len(found)} ran"
    return None


def _broken_edge(program: Program, ran: Sequence[Span]) -> str | None:
    """An operation that started before one that it waits for had ended."""
    ends = {(s.step // program.period.steps, s.op.name): s.end_s for s in ran}
    for span in ran:
        period = span.step // program.period.steps
        for edge in span.op.after:
            before = (period - edge.endswith("^"), edge.removesuffix("^"))
            if ends.get(before, span.start_s) > span.start_s:
                return f"{span.op.name} of step {span.step} started before {edge} had ended"
    return None


def _named(item: tuple[int, str]) -> str:
    return f"{item[1]} of step {item[0]}"
