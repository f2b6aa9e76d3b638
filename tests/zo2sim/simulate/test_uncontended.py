"""The arithmetic of a program equals its simulation where nothing contends."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.machines import costs, rates
from tests.strategies import choices, shared
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Kind, Op, Stream
from zo2sim.simulate.events import simulate
from zo2sim.simulate.steady import PERIODS, Floats, cycles
from zo2sim.simulate.uncontended import Walk
from zo2sim.simulate.work import Work

times = st.floats(min_value=0.0, max_value=9.0)


def ends_s(walk: Walk, durations: Floats, late: Floats) -> list[float]:
    """Of what as many periods as a simulation runs at least hand on, for one plan."""
    found = islice(walk.periods(durations, late), PERIODS)
    return [end for ends in found for end in ends[:, 0].tolist()]


def handed_on(walk: Walk, ends: Sequence[float]) -> list[float]:
    """Those of them, which are of every operation, that a next period waits for."""
    size = len(walk.program.period.ops)
    return [ends[start + n] for start in range(0, len(ends), size) for n in walk.handed_on]


@given(choices(4) | shared(4), times, times, times, times)
def test_ends_equal_the_simulation(
    choice: tuple[Shape, Plan, Recipe], h2d: float, forward: float, d2h: float, other: float
):
    program = build(*choice)
    work = costs(
        h2d=h2d,
        forward=forward,
        d2h=d2h,
        update=other,
        read=other,
        write=h2d,
        host_update=other,
        encode=d2h,
        ends=forward,
        loss=other,
        journal=other,
        send=d2h,
        gather=h2d,
        latency=0.5,
    )
    walk = Walk(program, lambda op: (op.name, op.records))
    durations = np.array([[work(op).alone_s(rates())] for op in walk.classes])
    trace = simulate(program, work, rates(), periods=PERIODS)
    ends = handed_on(walk, [span.end_s for span in trace.spans])
    assert ends_s(walk, durations, np.zeros_like(durations)) == pytest.approx(ends, rel=1e-9)


@given(choices(4) | shared(4), times, times, times, times)
def test_other_streams_may_see_an_end_later_or_earlier(
    choice: tuple[Shape, Plan, Recipe], h2d: float, forward: float, gap: float, wake: float
):
    """Gaps after what computes, wake-ups after what does not."""
    program = build(*choice)
    plain = costs(h2d=h2d, forward=forward, d2h=2 * h2d, update=1.0, ends=forward, loss=0.5)

    def work(op: Op) -> Work:
        computes = op.stream is Stream.COMPUTE
        return replace(plain(op), gap_s=gap * computes, wake_s=wake * (not computes))

    walk = Walk(program, lambda op: (op.name, op.records))
    works = [work(op) for op in walk.classes]
    durations = np.array([[one.alone_s(rates())] for one in works])
    late = np.array([[one.late_s] for one in works])
    trace = simulate(program, work, rates(), periods=PERIODS)
    ends = [span.end_s + work(span.op).gap_s for span in trace.spans]
    assert ends_s(walk, durations, late) == pytest.approx(handed_on(walk, ends), rel=1e-9)


def test_plans_that_settle_late_go_on_without_the_others():
    """A link that is barely faster than the device fills all slots over many periods."""
    plan = Plan(num_slots=5, write_back_every=2)
    walk = Walk(build(Shape(num_blocks=5), plan, Recipe()), lambda op: op.kind)
    upload_s = np.array([1.0, 2.75, 2.775, 4.0])
    taken_s = {Kind.H2D: upload_s, Kind.FORWARD: np.full(4, 2.0), Kind.D2H: 0.9 * upload_s}
    durations = np.array([taken_s.get(op.kind, np.zeros(4)) for op in walk.classes])
    late = np.zeros_like(durations)
    ends = np.stack([ends.copy() for ends in islice(walk.periods(durations, late), 40)])
    assert (cycles(ends[:12]) == 0).tolist() == [False, True, True, False]
    assert walk.step_s(durations, late) == pytest.approx((ends[-1, -1] - ends[-2, -1]) / 2)


def test_many_plans_in_one_pass():
    program = build(Shape(num_blocks=4), Plan(), Recipe())
    walk = Walk(program, lambda op: (op.kind, op.records))
    kinds = [op.kind.value.lower() for op in walk.classes]
    seconds = np.linspace(1, 7, 3000)
    durations = np.array([seconds if k == "h2d" else np.full(3000, k == "forward") for k in kinds])
    alike = np.zeros_like(durations)
    some = [slice(i, i + 1) for i in range(0, 3000, 997)]
    alone = np.concatenate([walk.step_s(durations[:, i], alike[:, i]) for i in some])
    assert walk.step_s(durations, alike)[::997] == pytest.approx(alone, rel=1e-12)
