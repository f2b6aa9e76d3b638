"""Ends of a step that are proved: the simulated step lies between them, and mostly on both."""

from dataclasses import replace

import numpy as np
import pytest

from tests.calibrated import calibrated_host
from tests.thorough import THOROUGH, some_of
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named
from zo2sim.machines.machine import Machine
from zo2sim.models.presets import resolve
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.predict.case import Case
from zo2sim.predict.enclosure import Enclosure, enclosures
from zo2sim.predict.predict import Prediction, predict
from zo2sim.simulate.bounds import DEPENDENCIES

MODEL = resolve("opt-125m")
CARDS = ("a100-pcie-80gb", "rtx-4090-24gb", "gh200-96gb", "t4-16gb")
MACHINES = tuple(map(named, CARDS if THOROUGH else CARDS[:2]))
PLANS = (
    Plan(policy=Policy.RESIDENT),
    Plan(num_slots=1),
    Plan(),
    Plan(resident_blocks=6, scratch_copies=2),
    Plan(write_back_every=2, num_slots=3),
    Plan(tier="nvme"),
    Plan(tier="nvme", num_slots=1),
)
NODES = tuple(map(named, some_of(("4x-rtx-4090", "8x-l40s", "8x-a100", "8x-h100"), every=2)))
SHARED = (
    Plan(devices=4, policy=Policy.RESIDENT),
    Plan(devices=4, num_slots=1),
    Plan(devices=2, scratch_copies=2),
    Plan(devices=4, scratch_copies=2, resident_blocks=4, lane_groups=2),
    Plan(devices=3, write_back_every=2),
    Plan(devices=4, placement="whole"),
)
ADAPTERS = Recipe(trainable="lora:4", storage_dtype=Dtype.INT4)
RECIPES = (Recipe(), ADAPTERS)
MOST = 16 if THOROUGH else 8
"""Microbatches of several devices."""
COMPUTERS = {"a device": (PLANS, MACHINES, (1, 4)), "several": (SHARED, NODES, (4, MOST))}
Computers = tuple[tuple[Plan, ...], tuple[Machine, ...], tuple[int, ...]]


@pytest.fixture(params=COMPUTERS.values(), ids=[*COMPUTERS])
def computers(request: pytest.FixtureRequest) -> Computers:
    return request.param


def found(recipe: Recipe, computers: Computers) -> list[Enclosure]:
    return list(enclosures(MODEL, recipe, *computers))


def simulated(
    recipe: Recipe, plan: Plan, computers: Computers, place: tuple[int, ...]
) -> Prediction:
    _, machines, loads = computers
    more = replace(recipe, microbatches=loads[place[1]])
    return predict(Case(model=MODEL, machine=machines[place[0]], plan=plan, recipe=more))


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_simulated_step_lies_between_the_ends(recipe: Recipe, computers: Computers):
    for plan, enclosure in zip(computers[0], found(recipe, computers), strict=True):
        for place in np.ndindex(enclosure.lower_s.shape):
            step_s = simulated(recipe, plan, computers, place).step_s
            assert enclosure.lower_s[place] <= step_s * (1 + 1e-9), (plan, place)
            assert step_s <= enclosure.upper_s[place] * (1 + 1e-9), (plan, place)


@pytest.mark.parametrize("recipe", RECIPES)
def test_limits_are_those_of_the_bound(recipe: Recipe, computers: Computers):
    for plan, enclosure in zip(computers[0], found(recipe, computers), strict=True):
        for place in np.ndindex(enclosure.lower_s.shape):
            limits = simulated(recipe, plan, computers, place).bound.limits_s
            for name, seconds in limits.items():
                if name != DEPENDENCIES:
                    assert enclosure.limits_s[name][place] == pytest.approx(seconds)


def test_the_ends_meet_where_nothing_contends():
    resident, single, *_ = found(Recipe(), COMPUTERS["a device"])
    np.testing.assert_allclose(resident.lower_s, resident.upper_s)
    np.testing.assert_allclose(single.lower_s[:2], single.upper_s[:2])


def test_a_host_that_computes_is_refused():
    with pytest.raises(ValueError, match=r"must have a card; .* computes on its cores"):
        next(enclosures(MODEL, Recipe(), PLANS, [calibrated_host()], (1,)))
