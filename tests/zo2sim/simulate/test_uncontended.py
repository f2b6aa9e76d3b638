"""The arithmetic of a program equals its simulation where nothing contends."""

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
from zo2sim.schedule.ops import Op, Stream
from zo2sim.simulate.events import simulate
from zo2sim.simulate.steady import PERIODS, Floats
from zo2sim.simulate.uncontended import Walk
from zo2sim.simulate.work import Work

times = st.floats(min_value=0.0, max_value=9.0)


def ends_s(walk: Walk, durations: Floats, late: Floats) -> list[float]:
    """Of every operation of as many periods as a simulation runs at least, for one plan."""
    found = islice(walk.periods(durations, late), PERIODS)
    return [end for ends in found for end in ends[:, 0].tolist()]


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
    assert ends_s(walk, durations, np.zeros_like(durations)) == pytest.approx(
        [s.end_s for s in trace.spans], rel=1e-9
    )


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
    assert ends_s(walk, durations, late) == pytest.approx(ends, rel=1e-9)


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
