"""What is said of a policy is what its schedule does."""

import pytest

from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.policy import Traits
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Kind, Program
from zo2sim.schedule.unroll import unroll
from zo2sim.schedule.verify import columns_of, happens_before

UPDATES = (Kind.UPDATE, Kind.HOST_UPDATE)


def seen(program: Program) -> Traits:
    """The traits of a schedule's operations and of their order."""
    ops = program.period.ops
    kinds = {op.kind for op in ops}
    forwards, updates = (
        {op.trip for op in ops if op.kind in k} for k in ((Kind.FORWARD,), UPDATES)
    )
    return Traits(
        streams=Kind.H2D in kinds,
        overlaps=_two_at_once(program),
        defers=updates <= forwards,
        updates_on_host=Kind.HOST_UPDATE in kinds and Kind.D2H not in kinds,
        published=Kind.JOURNAL not in kinds,
    )


def _two_at_once(program: Program) -> bool:
    """Some operation may start before the one that was issued before it has ended."""
    unrolled = unroll(program, periods=2)
    columns, clocks = columns_of(unrolled), happens_before(unrolled)
    return any(
        clock[column] <= before.position
        for column, before, clock in zip(columns, unrolled, clocks[1:], strict=False)
    )


@pytest.mark.parametrize("policy", Policy)
def test_a_policy_s_traits_are_those_of_its_schedule(policy: Policy):
    assert seen(build(Shape(num_blocks=3), Plan(policy=policy), Recipe())) == policy.traits


def test_a_plan_may_overlap_and_defer_less_than_its_policy():
    for plan in (Plan(), Plan(overlap=False), Plan(deferred_update=False)):
        found = seen(build(Shape(num_blocks=3), plan, Recipe()))
        assert (found.overlaps, found.defers) == (plan.overlaps, plan.defers)
