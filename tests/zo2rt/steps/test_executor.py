"""The executor: what it keeps, and that it launches what is scheduled."""

import gc
import weakref

import pytest

from zo2rt.backends import Event, HostBackend, VirtualBackend
from zo2rt.backends.tracks import Where
from zo2rt.steps.executor import Executor
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule.unroll import unroll


class Counted(VirtualBackend):
    """Knows which of the events that it gave out somebody still holds."""

    def __init__(self) -> None:
        super().__init__()
        self.events: weakref.WeakSet[Event] = weakref.WeakSet()

    def record(self, track: Where, event: Event | None = None) -> Event:
        made = super().record(track, event)
        self.events.add(made)
        return made


def nothing() -> None:
    pass


@pytest.mark.parametrize(
    "plan", [Plan(num_slots=3), Plan(write_back_every=2), Plan(policy=Policy.DUAL)], ids=str
)
def test_events_of_two_periods_are_kept_and_those_before_forgotten(plan: Plan):
    """The last operation of the period before may still be waited for, and none before that."""
    program = build(Shape(num_blocks=3), plan, Recipe())
    size = len(program.period.ops)
    with Counted() as backend:
        executor = Executor(backend, program, lambda op, step: nothing)
        for step in range(8):
            backend.synchronize(executor.enqueue_step(step))
            executor.ended()
        gc.collect()
        assert len(backend.events) <= 2 * size


def test_every_operation_is_launched_once_for_its_step():
    program = build(Shape(num_blocks=3), Plan(write_back_every=2), Recipe())
    with VirtualBackend() as backend:
        executor = Executor(backend, program, lambda op, step: nothing, first_step=7)
        for step in range(7, 11):
            executor.enqueue_step(step)
        ran = sorted((span.op.name, span.step) for span in executor.spans() if span.step < 11)
    assert ran == sorted((item.name, 7 + item.step) for item in unroll(program, periods=2))


@pytest.mark.parametrize(("slots", "ahead"), [(1, ["H0"]), (3, ["H0", "H1", "H2"])])
def test_what_arrives_for_the_next_step_is_launched_with_this_one(slots: int, ahead: list[str]):
    """As far as what it waits for is, and of that step alone."""
    program = build(Shape(num_blocks=3), Plan(num_slots=slots), Recipe())
    with VirtualBackend() as backend:
        executor = Executor(backend, program, lambda op, step: nothing, first_step=7)
        executor.enqueue_step(7)
        found = [(span.op.name, span.step) for span in executor.spans() if span.step > 7]
    assert found == [(name, 8) for name in ahead]


def test_a_flush_runs_what_is_scheduled_after_what_it_waits_for():
    program = build(Shape(num_blocks=3), Plan(), Recipe())
    ran: list[str] = []
    with HostBackend() as backend:
        executor = Executor(backend, program, lambda op, step: nothing)
        executor.run(program.flush, lambda op, _: lambda: ran.append(op.name))
    assert sorted(ran) == sorted(op.name for op in program.flush.ops)
    for op in program.flush.ops:
        assert all(ran.index(edge) < ran.index(op.name) for edge in op.after), op.name
