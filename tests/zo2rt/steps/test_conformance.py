"""What ran is compared with what was scheduled, as it ends."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.machines import costs, rates
from zo2rt.steps.conformance import Conformance
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Program, Stream
from zo2sim.schedule.unroll import unroll
from zo2sim.simulate.events import simulate
from zo2sim.simulate.trace import Span

PROGRAM = build(Shape(num_blocks=2), Plan(write_back_every=2), Recipe())


def spans(periods: int = 3) -> list[Span]:
    """Every operation in issue order, one second each."""
    items = unroll(PROGRAM, periods=periods)
    return [Span(item.op, item.step, float(n), n + 1.0) for n, item in enumerate(items)]


def first_divergence(program: Program, spans: Iterable[Span]) -> str | None:
    """Of a whole run from step 0 on, without a flush in between."""
    ran = [*spans]
    check = Conformance(program)
    check.add(ran)
    check.finish(1 + max((s.step for s in ran if s.op.stream is Stream.COMPUTE), default=-1))
    return check.divergence


def place(ran: list[Span], name: str, step: int) -> int:
    return next(n for n, s in enumerate(ran) if (s.op.name, s.step) == (name, step))


def test_a_run_in_issue_order_conforms():
    assert first_divergence(PROGRAM, spans()) is None
    assert first_divergence(PROGRAM, []) is None


@given(h2d=st.floats(0.1, 9), forward=st.floats(0.1, 9), d2h=st.floats(0.1, 9))
def test_durations_do_not_matter(h2d: float, forward: float, d2h: float):
    cost = costs(h2d=h2d, forward=forward, d2h=d2h, update=1, loss=1)
    trace = simulate(PROGRAM, cost, rates(), periods=3)
    assert first_divergence(PROGRAM, trace.spans) is None


def test_a_run_may_end_within_a_period():
    ran = [s for s in spans() if s.step < 3]
    assert first_divergence(PROGRAM, ran) is None


def test_arrivals_of_a_step_that_has_not_come_do_not_count():
    early = [s for s in spans() if s.step == 4 and s.op.stream is Stream.H2D]
    assert first_divergence(PROGRAM, [*(s for s in spans() if s.step < 4), *early]) is None


@pytest.mark.parametrize("step", [0, 3, 5])
def test_a_missing_operation_is_named(step: int):
    ran = spans()
    name = "F1@1" if step % 2 else "F1"
    del ran[place(ran, name, step)]
    other = "Utail@1" if step % 2 else "Utail"
    assert first_divergence(PROGRAM, ran) == (
        f"compute: {name} of step {step} was scheduled, {other} of step {step} ran in its place"
    )


def test_the_last_operation_of_a_stream_is_named_where_it_is_missing():
    ran = spans()
    del ran[place(ran, "D1@1", 3)]
    assert first_divergence(PROGRAM, ran) == "d2h: D1@1 of step 3 is missing"


def test_an_operation_that_ran_twice_is_named():
    ran = spans()
    last = ran[place(ran, "D1@1", 3)]
    ran.append(replace(last, start_s=last.start_s + 0.5))
    assert first_divergence(PROGRAM, ran) == "d2h: D1@1 of step 3 was not scheduled"


@pytest.mark.parametrize("early", ["U0", "D0"])
def test_the_first_difference_in_time_is_the_one_that_is_named(early: str):
    """Whatever its stream, and whether it is an edge or an order that was broken."""
    ran = [s for s in spans() if (s.op.name, s.step) not in (("D1@1", 3), ("F1@1", 3))]
    at = place(ran, early, 2)
    ran[at] = replace(ran[at], start_s=ran[at].start_s - 1.5)
    before = {"U0": "H0", "D0": "U0"}[early]
    expected = f"{early} of step 2 started before {before} had ended"
    assert first_divergence(PROGRAM, ran) == expected


def test_a_reordered_stream_is_named():
    ran = spans()
    a, b = place(ran, "H0", 2), place(ran, "H1", 2)
    first, second = ran[a], ran[b]
    ran[a] = Span(first.op, 2, second.start_s, second.end_s)
    ran[b] = Span(second.op, 2, first.start_s, first.end_s)
    assert first_divergence(PROGRAM, ran) == (
        "h2d: H0 of step 2 was scheduled, H1 of step 2 ran in its place"
    )


def test_a_broken_edge_is_named():
    ran = spans()
    at = place(ran, "U1", 2)
    upload = ran[place(ran, "H1", 2)]
    ran[at] = Span(ran[at].op, 2, upload.end_s - 0.5, ran[at].end_s)
    assert first_divergence(PROGRAM, ran) == "U1 of step 2 started before H1 had ended"


def test_an_edge_to_the_period_before_is_checked():
    ran = spans()
    at = place(ran, "H0", 2)
    ran[at] = Span(ran[at].op, 2, 0.0, ran[at].end_s)
    assert first_divergence(PROGRAM, ran) == "H0 of step 2 started before F0@1^ had ended"


def test_a_run_may_begin_at_any_step():
    check = Conformance(PROGRAM, first_step=7)
    check.add(Span(s.op, s.step + 7, s.start_s, s.end_s) for s in spans())
    check.finish(7 + 6)
    assert check.divergence is None


def test_a_run_that_stops_short_does_not_conform():
    check = Conformance(PROGRAM)
    check.add(s for s in spans() if s.step < 3)
    check.finish(4)
    assert check.divergence is not None


@pytest.mark.parametrize("missing", [0, 1])
def test_a_period_that_lacks_something_is_judged_when_the_second_one_after_it_begins(missing: int):
    """What arrives early is of the period after it; its own operations have all ended by then."""
    ran = spans(periods=missing + 3)
    first = 2 * missing
    del ran[place(ran, "D1@1", first + 1)]
    last = next(n for n, span in enumerate(ran) if span.step >= first + 4)
    check = Conformance(PROGRAM)
    check.add(ran[:last])
    assert check.divergence is None
    check.add(ran[last : last + 1])
    assert check.divergence == f"d2h: D1@1 of step {first + 1} is missing"
