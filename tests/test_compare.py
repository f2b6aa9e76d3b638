"""Two traces: the first difference in order or edges is named, durations are not looked at."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from analysis.compare import first_divergence
from tests.machines import costs, rates
from zo2sim.plan import Plan, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule import Kind, Stream
from zo2sim.simulate import simulate
from zo2sim.trace import Span, Trace

PROGRAM = build(Shape(num_blocks=3), Plan(), Recipe())


def traced(**seconds: float) -> Trace:
    base = {"h2d": 3.0, "forward": 4.0, "d2h": 2.0, "update": 1.0, "loss": 1.0}
    return simulate(PROGRAM, costs(**{**base, **seconds}), rates(), periods=3)


def find(trace: Trace, name: str, step: int) -> int:
    return next(i for i, s in enumerate(trace.spans) if (s.op.name, s.step) == (name, step))


def changed(trace: Trace, number: int, span: Span | None) -> Trace:
    spans = list(trace.spans)
    spans[number : number + 1] = [] if span is None else [span]
    return replace(trace, spans=tuple(spans))


@given(h2d=st.floats(0.1, 9), forward=st.floats(0.1, 9), d2h=st.floats(0.1, 9))
def test_durations_do_not_matter(h2d: float, forward: float, d2h: float):
    assert first_divergence(traced(), traced(h2d=h2d, forward=forward, d2h=d2h)) is None


def test_two_operations_that_changed_places_are_named():
    trace = traced()
    one, other = find(trace, "D0", 1), find(trace, "D1", 1)
    spans = list(trace.spans)
    a, b = spans[one], spans[other]
    spans[one], spans[other] = replace(a, op=b.op), replace(b, op=a.op)
    found = replace(trace, spans=tuple(spans))
    message = first_divergence(trace, found)
    assert message == "d2h: D0 of step 1 was expected, D1 of step 1 ran in its place"


def test_an_operation_that_is_missing_is_named():
    trace = traced()
    last = max(s.step for s in trace.spans)
    found = changed(trace, find(trace, "D2", last), None)
    assert first_divergence(trace, found) == f"d2h: D2 of step {last} is missing"
    assert first_divergence(found, trace) == f"d2h: D2 of step {last} was not expected"


def test_an_edge_that_was_broken_is_named():
    trace = traced()
    number = find(trace, "F1", 1)
    early = trace.spans[find(trace, "H1", 1)].end_s - 0.5
    span = replace(trace.spans[number], start_s=early)
    message = first_divergence(trace, changed(trace, number, span))
    assert message is not None
    assert "F1 of step 1" in message


def test_steps_that_only_one_of_them_ran_do_not_count():
    long = simulate(PROGRAM, costs(h2d=1, forward=1), rates(), periods=5)
    assert first_divergence(long, traced()) is None


def test_the_first_difference_in_time_is_the_one_that_is_named():
    trace = traced()
    late = changed(trace, find(trace, "D2", 2), None)
    both = changed(late, find(trace, "H0", 1), None)
    message = first_divergence(trace, both)
    assert message is not None
    assert message.startswith(f"{Stream.H2D}: H0 of step 1 was expected")


def test_an_empty_trace_has_nothing_to_differ_in():
    empty = replace(traced(), spans=())
    assert first_divergence(traced(), empty) is None
    assert Kind.FORWARD in {s.op.kind for s in traced().spans}
