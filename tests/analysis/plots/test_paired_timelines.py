"""One step twice: the same place in the period, drawn on one axis of time."""

import pytest

from analysis.plots.paired_timelines import loss_to_loss, paired_timelines, same_place
from tests.machines import costs, rates
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Kind
from zo2sim.simulate.events import simulate
from zo2sim.simulate.trace import Trace

PERIOD = 3


def trace(*, forward: int, periods: int = 4, every: int = PERIOD) -> Trace:
    program = build(Shape(num_blocks=4), Plan(write_back_every=every), Recipe())
    work = costs(h2d=2, forward=forward, d2h=2, update=1, loss=1)
    return simulate(program, work, rates(), periods=periods)


def downloads(one: Trace, step: int) -> list[str]:
    return [s.op.name for s in one.spans if s.step == step and s.op.kind is Kind.D2H]


@pytest.mark.parametrize("step", [4, 5, 6])
def test_the_predicted_step_moves_what_the_measured_one_moves(step: int):
    predicted, measured = trace(forward=4), trace(forward=5)
    assert downloads(measured, step) != downloads(measured, step + 1)
    assert downloads(predicted, same_place(predicted, step)) == downloads(measured, step)


@pytest.mark.parametrize("every", [1, PERIOD])
def test_one_step_is_drawn_of_each_and_both_have_the_same_axis(every: int):
    predicted, measured = trace(forward=4, every=every), trace(forward=5, every=every)
    figure = paired_timelines(predicted, measured, step=5 if every > 1 else 2, title="a")
    above, below = figure.axes
    assert above.get_xlim() == below.get_xlim()
    lengths = [float(axes.get_title(loc="left").split()[1]) for axes in figure.axes]
    shown = [loss_to_loss(t, max(s.step for s in t.spans)).length_s for t in (predicted, measured)]
    assert lengths == pytest.approx([s * 1e3 for s in shown], rel=0.1)
    assert below.get_xlim()[1] == pytest.approx(max(lengths))
    assert ("step 3 of 3 of a period" in below.get_xlabel()) == (every > 1)


def test_the_predicted_step_is_a_steady_one():
    """The prologue has the place too, and what follows the steady window does not count."""
    one = trace(forward=4)
    assert [same_place(one, step) for step in (0, 1, 2, 50)] == [9, 10, 11, 11]
    with pytest.raises(ValueError, match="the steady state needs more than 3 steps"):
        same_place(trace(forward=4, periods=1), 1)


def test_a_step_that_is_not_in_the_trace_is_refused():
    with pytest.raises(ValueError, match="must hold the losses of steps 98 and 99"):
        loss_to_loss(trace(forward=4), 99)
