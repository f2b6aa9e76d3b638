"""The vectorised path: equal to the simulation where nothing contends, a bound where it does."""

import random
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from experiments.speed.drawn_plans import random_cases, uncontended
from tests.calibrated import calibrated_host
from tests.strategies import plans
from tests.thorough import examples
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named
from zo2sim.machines.machine import Machine
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.refusals import refusal
from zo2sim.policies import Shape
from zo2sim.predict.case import Case
from zo2sim.predict.drift import Drift, drifted
from zo2sim.predict.vectorised import contends, step_s
from zo2sim.simulate.events import simulate

MODEL = preset("opt-125m")
MACHINES = ("a100-pcie-80gb", "l40s-48gb", "rtx-4090-24gb", "t4-16gb")


_TRAINED: tuple[dict[str, Any], ...] = (
    {"trainable": "all"},
    {"trainable": "lora:4"},
    {"trainable": "lora:4", "storage_dtype": Dtype.INT4},
    {"trainable": "scales", "storage_dtype": Dtype.INT4_ASYM},
)


@cache
def free(name: str) -> Machine:
    return uncontended(named(name))


@st.composite
def cases(draw: st.DrawFn, *, contended: bool = False) -> Case:
    """Any plan of a 12-block model under any load, on a machine of the catalogue."""
    name = draw(st.sampled_from(MACHINES))
    machine = named(name) if contended else free(name)
    plan = draw(plans(Shape.of(MODEL)))
    if plan.policy is Policy.ZO2_REFERENCE:
        return Case(model=MODEL, machine=machine, plan=Plan(policy=plan.policy), recipe=Recipe())
    replays = plan.policy is Policy.HOST_UPDATE or plan.write_back_every > 1
    recipe = Recipe(
        batch=draw(st.integers(1, 16)),
        sequence=draw(st.sampled_from((1, 128, 1000, 2048))),
        microbatches=draw(st.integers(1, 8)),
        samples=draw(st.integers(1, 4)),
        **draw(st.sampled_from(_TRAINED)),
        noise=draw(st.sampled_from(("gaussian", "rademacher", "torch")[: 2 if replays else 3])),
        perturbation=draw(st.sampled_from(("scratch", "in_place")[: 1 if replays else 2])),
    )
    assume(refusal(plan, recipe) is None)
    return Case(model=MODEL, machine=machine, plan=plan, recipe=recipe)


def simulated_s(case: Case, *, periods: int = 4) -> float:
    cost = case.cost
    return simulate(case.program, cost, cost.rates, periods=periods).step_s


@settings(deadline=None, max_examples=examples(60))
@given(case=cases())
def test_it_equals_the_simulation_where_nothing_contends(case: Case):
    assume(not contends(case))
    assert step_s([case])[0] == pytest.approx(simulated_s(case), rel=1e-9)


@pytest.mark.parametrize("policy", [p for p in Policy if p is not Policy.ZO2_REFERENCE])
def test_gaps_and_wake_ups_of_a_host_are_the_simulation_s(policy: Policy):
    """Of two hosts that share their device, but not the cores that play it."""
    host = uncontended(calibrated_host())
    recipe = Recipe(**dict.fromkeys(("storage_dtype", "wire_dtype", "compute_dtype"), Dtype.FP32))
    plan = Plan(policy=policy)
    machines = (host, drifted(host, Drift(computing=3.0, starting=3.0)))
    both = [Case(model=MODEL, machine=machine, plan=plan, recipe=recipe) for machine in machines]
    assert machines[0].device is machines[1].device
    assert not any(contends(case) for case in both)
    assert step_s(both) == pytest.approx([simulated_s(case) for case in both], rel=1e-9)


@pytest.mark.parametrize("policy", Policy)
def test_every_policy_has_cases_that_do_not_contend(policy: Policy):
    """So the property above is about all of them."""
    case = Case(model=MODEL, machine=free("l40s-48gb"), plan=Plan(policy=policy), recipe=Recipe())
    assert not contends(case)
    assert step_s([case])[0] == pytest.approx(simulated_s(case), rel=1e-9)


@settings(deadline=None, max_examples=examples(60))
@given(case=cases(contended=True))
def test_it_is_a_lower_bound_where_operations_contend(case: Case):
    assert step_s([case])[0] <= simulated_s(case, periods=8) * (1 + 1e-9)


def test_contention_is_told():
    """The A100's link is slower both ways; uploads alone do not contend."""
    zo2 = Case(model=MODEL, machine=named("a100-pcie-80gb"), plan=Plan(), recipe=Recipe())
    assert contends(zo2)
    assert step_s([zo2])[0] < simulated_s(zo2)
    assert not contends(replace(zo2, machine=free("a100-pcie-80gb")))
    assert not contends(replace(zo2, plan=Plan(policy=Policy.RESIDENT)))


@settings(deadline=None, max_examples=examples(20))
@given(mixed=st.lists(cases(), min_size=2, max_size=6), data=st.data())
def test_neither_order_nor_company_matters(mixed: list[Case], data: st.DataObject):
    order = data.draw(st.permutations(range(len(mixed))))
    together = step_s(mixed)
    shuffled = step_s([mixed[i] for i in order])
    alone = np.array([step_s([case])[0] for case in mixed])
    np.testing.assert_allclose(shuffled, together[order], rtol=1e-12)
    np.testing.assert_allclose(alone, together, rtol=1e-12)


def test_more_plans_than_fit_one_pass():
    drawn = random_cases(random.Random(0), free("a100-pcie-80gb"), 20)
    many = step_s(drawn * 110)
    np.testing.assert_array_equal(many.reshape(110, 20), np.tile(many[:20], (110, 1)))


def test_no_case_is_no_answer():
    assert step_s([]).shape == (0,)


def test_a_refused_case_is_refused():
    plan = Plan(policy=Policy.NAIVE, write_back_every=2)
    case = Case(model=MODEL, machine=free("l40s-48gb"), plan=plan, recipe=Recipe())
    with pytest.raises(ValueError, match=r"policy=naive: write_back_every > 1 needs"):
        step_s([case])
