"""What is said of a policy is what its schedule does."""

from itertools import pairwise

import pytest

from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.policy import Traits
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Kind, Program, Stream
from zo2sim.schedule.unroll import unroll
from zo2sim.schedule.verify import happens_before

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
    columns, clocks = list(Stream), happens_before(unrolled)
    return any(
        clock[columns.index(before.op.stream)] <= before.position
        for (before, _), clock in zip(pairwise(unrolled), clocks[1:], strict=True)
    )


@pytest.mark.parametrize("policy", Policy)
def test_a_policy_s_traits_are_those_of_its_schedule(policy: Policy):
    assert seen(build(Shape(num_blocks=3), Plan(policy=policy), Recipe())) == policy.traits


def test_a_plan_may_overlap_and_defer_less_than_its_policy():
    for plan in (Plan(), Plan(overlap=False), Plan(deferred_update=False)):
        found = seen(build(Shape(num_blocks=3), plan, Recipe()))
        assert (found.overlaps, found.defers) == (plan.overlaps, plan.defers)
