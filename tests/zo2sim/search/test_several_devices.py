"""Searches of several devices: programs are long, so what bounds many plans is looked at first."""

from dataclasses import replace

import numpy as np
import pytest

from tests.thorough import some_of
from zo2sim.machines.file import named
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Placement, Plan, Policy, Recipe
from zo2sim.predict.case import Case
from zo2sim.predict.vectorised import step_s
from zo2sim.search.candidates import Candidates
from zo2sim.search.ledger import Ledger
from zo2sim.search.search import Effort, search, work
from zo2sim.search.space import PlanSpace

AXES = {
    "policy": (Policy.ZO2, Policy.HOST_UPDATE, Policy.DUAL),
    "placement": ("ring", "whole", "sliced"),
    "write_back_every": (1, 2),
    "num_slots": some_of((1, 2, 4), every=2),
    "resident_blocks": some_of((0, 5, 12), every=2),
}


def space() -> PlanSpace:
    """Plans of two cards that a search looks at one by one in a second."""
    machine, recipe = named("4x-rtx-4090"), Recipe(microbatches=2, sequence=64)
    base = Case(model=preset("opt-125m"), machine=machine, plan=Plan(devices=2), recipe=recipe)
    return PlanSpace(base=base, axes=AXES)


def test_no_bound_exceeds_what_it_bounds():
    asked = space()
    candidates = Candidates.of(asked)
    ledger = Ledger(candidates, work(candidates, "tokens"))
    everyone = np.arange(len(candidates))
    bounds_s = [ledger.step_s.copy()]
    for number in everyone.tolist():
        while not ledger.known[number]:
            ledger.look_closer(number)
            bounds_s.append(ledger.step_s.copy())
    assert len(bounds_s) > 2 * len(candidates)
    for bound_s in bounds_s:
        assert np.all(bound_s <= ledger.step_s * (1 + 1e-9))


@pytest.mark.parametrize("placement", ["ring", "whole", "sliced"])
@pytest.mark.parametrize("policy", AXES["policy"])
def test_no_plan_takes_less_than_is_said_of_its_kind(policy: Policy, placement: Placement):
    plan = Plan(policy=policy, placement=placement, devices=4, num_slots=4)
    base = replace(space().base, machine=named("8x-a100"), plan=plan)
    residents = tuple(some_of(range(13), every=6))
    candidates = Candidates.of(PlanSpace(base=base, axes={"resident_blocks": residents}))
    ledger = Ledger(candidates, work(candidates, "tokens"))
    ledger.look_closer(0)
    assert not ledger.walked.any()
    walked_s = step_s([candidates.case(number) for number in range(len(candidates))])
    assert np.all(ledger.step_s <= walked_s * (1 + 1e-9))


def test_a_limited_search_finds_about_the_best_and_tells_the_bound():
    everything = search(space(), effort=Effort(tolerance=0.0, simulations=1000))
    limited = search(space(), effort=Effort(tolerance=0.0, simulations=8, programs=24))
    assert limited.plans_walked < everything.plans_walked
    assert limited.lower_bound_s <= everything.best.step_s * (1 + 1e-9)
    assert limited.best.step_s <= 1.02 * everything.best.step_s


@pytest.mark.parametrize("programs", [1, 3])
def test_however_few_programs_it_finds_a_plan(programs: int):
    found = search(space(), effort=Effort(simulations=1, programs=programs))
    assert found.best.simulated
    assert found.lower_bound_s <= found.best.step_s


def test_a_plan_alone_is_walked_next_after_what_bounds_its_kind():
    asked = PlanSpace(base=space().base, axes={"num_slots": (1, 2, 4)})
    candidates = Candidates.of(asked)
    for alone, walked in ((True, [True, False, False]), (False, [False, False, True])):
        ledger = Ledger(candidates, work(candidates, "tokens"))
        ledger.look_closer(0, alone=alone)
        assert not ledger.walked.any()
        ledger.look_closer(0, alone=alone)
        assert ledger.walked.tolist() == walked


def test_one_device_has_no_room_to_look_at_first():
    base = replace(space().base, plan=Plan())
    candidates = Candidates.of(PlanSpace(base=base, axes={"num_slots": (1, 2)}))
    ledger = Ledger(candidates, work(candidates, "tokens"))
    ledger.look_closer(0)
    assert ledger.walked.tolist() == [True, False]
