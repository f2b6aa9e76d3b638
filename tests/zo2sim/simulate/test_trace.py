"""Traces: steady period, busy, exposed and bubble time."""

from dataclasses import replace

import pytest

from tests.machines import costs, rates
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Kind, Op, Stream
from zo2sim.simulate.events import simulate
from zo2sim.simulate.trace import Span, Trace, Window, breakdown, clipped


def span(stream: Stream, start: float, end: float, kind: Kind = Kind.FORWARD) -> Span:
    return Span(Op(kind=kind, stream=stream, unit=0), 0, start, end)


def trace(*spans: Span) -> Trace:
    return Trace(name="t", steps_per_period=1, spans=spans)


def test_time_is_compute_exposed_or_bubble():
    parts = breakdown(
        trace(
            span(Stream.COMPUTE, 0, 4),
            span(Stream.H2D, 2, 6, Kind.H2D),
            span(Stream.D2H, 5, 7, Kind.D2H),
            span(Stream.COMPUTE, 9, 10),
        ),
        Window(0, 10),
    )
    assert parts.busy_s == {Stream.H2D: 4, Stream.COMPUTE: 5, Stream.D2H: 2}
    assert (parts.exposed_s, parts.bubble_s) == (3, 2)


def test_a_window_cuts_spans():
    parts = breakdown(trace(span(Stream.COMPUTE, 0, 4)), Window(3, 5))
    assert (parts.busy_s[Stream.COMPUTE], parts.bubble_s) == (1, 1)


def test_what_only_touches_a_window_is_not_in_it():
    spans = [span(Stream.COMPUTE, *times) for times in ((0, 3), (2, 4), (3, 9), (5, 6), (4, 4))]
    assert clipped(spans, Window(3, 5)) == [(3, 4), (3, 5)]


def test_a_cycle_that_was_not_found_is_an_average():
    found, forced = (replace(trace(), cycle=cycle) for cycle in (4, 48))
    assert (found.averaged_periods, forced.averaged_periods) == (0, 48)


def test_steady_period_is_from_loss_to_loss():
    program = build(Shape(num_blocks=4), Plan(write_back_every=2), Recipe())
    result = simulate(program, costs(h2d=1, forward=4, loss=1), rates(), periods=3)
    assert len(result.losses_s) == 6
    assert result.steady == Window(result.losses_s[3], result.losses_s[5])
    assert result.step_s == 17


def test_periods_that_trail_and_what_runs_once_have_windows_of_their_own():
    loss = Op(kind=Kind.LOSS, stream=Stream.COMPUTE)
    run = trace(*(Span(loss, step, end - 1, end) for step, end in enumerate((2, 4, 7, 99))))
    assert run.steady == Window(7, 99)
    assert replace(run, trailing=1).steady == Window(4, 7)
    assert replace(run, once=True).steady == Window(0, 99)


def test_one_period_has_no_steady_state():
    program = build(Shape(num_blocks=2), Plan(), Recipe())
    result = simulate(program, costs(h2d=1), rates(), periods=1)
    with pytest.raises(ValueError, match="needs more than 1 steps; the trace has 1"):
        _ = result.steady
