"""What is stored: plans that a search would choose, and for each what the engine says of it."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.planner.choices import CARDS, FORMATS, MICROBATCHES, stored_plans
from experiments.planner.computers import computers
from experiments.planner.machines import Known
from experiments.planner.tables import POOLED_LIMITS, SHARED_LIMITS, Steps, tables
from tests.experiments.planner.pages import COMPUTERS, FEW, MACHINES, MODELS, small_tables
from zo2sim.machines import what_if
from zo2sim.machines.file import named
from zo2sim.models.presets import resolve
from zo2sim.plan.choices import Plan
from zo2sim.plan.refusals import refusal
from zo2sim.predict.case import Case, of_usual_devices
from zo2sim.predict.predict import Prediction, predict
from zo2sim.search.candidates import Candidates
from zo2sim.search.space import PlanSpace, plan_axes

MODEL = resolve(MODELS[0])
LAST = len(MICROBATCHES) - 1
MADE = sorted({one.cards for one in FEW})


def predicted(own: Steps, plan: int, computer: int, load: int) -> Prediction:
    machine = FEW[own.computers[computer]].machine
    recipe = replace(own.recipe, microbatches=MICROBATCHES[load])
    usual = of_usual_devices(machine, own.plans[plan], recipe, ("devices",))
    return predict(Case(model=MODEL, machine=machine, plan=usual, recipe=recipe))


@pytest.mark.parametrize("cards", CARDS)
@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.key)
def test_no_stored_plan_is_refused(kind, cards: int):
    plans = stored_plans(MODEL, kind.recipe, cards)
    assert [refusal(plan, kind.recipe) for plan in plans] == [None] * len(plans)


@pytest.mark.parametrize(("name", "format"), [("opt-1.3b", 0), ("opt-30b", 0), ("opt-30b", 3)])
def test_no_plan_needs_less_than_the_smallest_that_is_stored(name: str, format: int):
    """So the page says that nothing fits where the engine says it."""
    model, recipe = resolve(name), FORMATS[format].recipe
    base = Case(
        model=model, machine=MACHINES[0], plan=stored_plans(model, recipe)[0], recipe=recipe
    )
    every = Candidates.of(PlanSpace(base=base, axes=plan_axes(base)))
    stored = [replace(base, plan=plan).memory for plan in stored_plans(model, recipe)]
    assert min(need.device_bytes for need in stored) == every.device.min()
    smallest = every.host[every.device == every.device.min()].min()
    assert min(n.host_bytes for n in stored if n.device_bytes == every.device.min()) == smallest


@pytest.mark.parametrize("cards", MADE)
@pytest.mark.parametrize("load", [0, LAST])
def test_stored_numbers_are_the_engine_s(cards: int, load: int):
    for own in (table for table in small_tables() if table.cards == cards):
        limits = SHARED_LIMITS if cards == 1 else POOLED_LIMITS
        computer = len(own.computers) - 1
        for plan in (0, 2, len(own.plans) - 1):
            found = predicted(own, plan, computer, load)
            assert own.memory[:, plan, load].tolist() == [p.needed_bytes for p in found.fits]
            assert own.lower_s[plan, computer, load] <= found.step_s * (1 + 1e-9)
            assert found.step_s <= own.upper_s[plan, computer, load] * (1 + 1e-9)
            known = found.bound.limits_s
            assert own.compute_s[plan, computer, load] == pytest.approx(known["compute"])
            for number, name in enumerate(limits):
                if name in known:
                    stored = own.limits_s[number, plan, computer, 0 if cards == 1 else load]
                    assert stored == pytest.approx(known[name])


@pytest.mark.parametrize("cards", MADE)
def test_what_is_needed_least_is_stored_for_every_number_of_resident_blocks(cards: int):
    own = next(table for table in small_tables() if table.cards == cards)
    machine = FEW[own.computers[0]].machine
    for blocks in (0, 5, MODEL.num_blocks):
        plan = Plan(devices=cards, num_slots=1, resident_blocks=blocks)
        needs = Case(model=MODEL, machine=machine, plan=plan, recipe=own.recipe).memory
        assert own.least[:, 0, blocks].tolist() == [needs.device_bytes, needs.host_bytes]


def test_nearly_every_step_is_known_within_two_percent():
    """With one card. Several contend for one interpreter, and for links where copies between them
    go through the host: of such steps the ends are told."""
    for table in small_tables():
        if table.cards == 1:
            assert np.mean(table.upper_s <= 1.04 * table.lower_s) > 0.9


def test_computers_with_several_cards_are_those_of_the_catalogue_or_the_machine_itself():
    found = {one.name: one.machine.name for one in computers(MACHINES) if one.cards > 1}
    assert found["2 x rtx-4090-24gb"] == found["4 x rtx-4090-24gb"] == "4x-rtx-4090"
    assert found["8 x rtx-4090-24gb"] == "8x-rtx-4090"
    assert not any(name.endswith("rtx-3060-12gb") for name in found)
    own = [(one.cards, one.machine.name) for one in computers([named("2x-rtx-3090")])]
    assert own == [(1, "2x-rtx-3090"), (2, "2x-rtx-3090")]


def test_machines_of_other_contexts_are_refused():
    other = what_if.replace(MACHINES[0], "device.context_bytes", 1e9)
    with pytest.raises(ValueError, match=r"must have contexts of one size; they have \[10"):
        next(tables(MODEL, computers((MACHINES[1], other))))


def test_a_machine_s_bands_are_those_of_cases_that_the_limit_binds():
    known = Known.of(COMPUTERS[2])
    assert [*known.typical] == ["compute", "link", "drive"]
    bands = {kind: trust["band"] for kind, trust in known.content["trust"].items()}
    assert all(low < 1.0 < high for low, high in bands.values())
    assert bands["compute"] != bands["link"]
