"""A step of several ranks: what each builds and runs, and what is waited for."""

from dataclasses import replace

import pytest

from zo2sim.machines.file import resolve
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.shares import share
from zo2sim.predict.case import Case
from zo2sim.predict.own_lanes import ranks_step
from zo2sim.predict.predict import predict
from zo2sim.schedule.ops import Kind

CASE = Case(
    model=preset("opt-125m"),
    machine=resolve("rtx-4090-24gb"),
    plan=Plan(policy=Policy.RESIDENT),
    recipe=Recipe(batch=4, microbatches=2),
)


def forwards_s(case: Case, lanes: str) -> float:
    """Of one step's forwards that are priced as if they ran these lanes."""
    cost, rates = case.cost, case.cost.rates
    ops = [op for op in case.program.period.ops if op.kind is Kind.FORWARD]
    return sum(float(cost(replace(op, lanes=lanes)).alone_s(rates)) for op in ops)


@pytest.mark.parametrize(
    ("lanes", "size", "lengths"), [(4, 1, [4]), (4, 3, [2, 1, 1]), (8, 3, [3, 3, 2])]
)
def test_lanes_are_dealt_in_runs_that_differ_by_one(lanes: int, size: int, lengths: list[int]):
    dealt = [share(lanes, rank, size) for rank in range(size)]
    assert [len(one) for one in dealt] == lengths
    assert [lane for one in dealt for lane in one] == [*range(lanes)]


def test_one_rank_is_the_case_itself():
    one = ranks_step(CASE, 1)
    assert one.ranks_s == (one.alone_s,)
    assert one.step_s == predict(CASE).step_s


def test_two_ranks_take_a_sign_each():
    """A step on the device alone is a sum: what differs from it is the forwards."""
    found = ranks_step(CASE, 2, exchange_s=0.25)
    saved_s = forwards_s(CASE, "+-") - forwards_s(CASE, "+")
    assert found.ranks_s[0] == found.ranks_s[1] == pytest.approx(found.alone_s - saved_s)
    assert found.step_s == found.ranks_s[0] + 0.25


def test_the_longest_run_of_lanes_is_waited_for():
    """Four lanes on three ranks: both of a sign, one of the other, the other one of it."""
    found = ranks_step(CASE, 3, exchange_s=0.0)
    both, one, other = found.ranks_s
    assert both > one == other
    assert found.step_s == both
    shorter = replace(CASE, recipe=replace(CASE.recipe, microbatches=1))
    saved_s = forwards_s(CASE, "+") - forwards_s(shorter, "+")
    assert both - one == pytest.approx(saved_s)


def test_where_the_link_binds_ranks_save_no_time():
    case = replace(CASE, model=preset("opt-13b"), plan=Plan(), recipe=Recipe(batch=1, sequence=64))
    assert ranks_step(case, 2, exchange_s=0.0).speed_up == pytest.approx(1.0, abs=0.05)


def test_in_place_is_refused():
    case = replace(CASE, recipe=replace(CASE.recipe, perturbation="in_place"))
    with pytest.raises(ValueError, match="in place each of them makes every shift"):
        ranks_step(case, 2)
