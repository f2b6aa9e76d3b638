"""What is stored: plans that a search would choose, and for each what the engine says of it."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.planner.choices import FORMATS, MICROBATCHES, stored_plans
from experiments.planner.machines import Known
from experiments.planner.tables import SHARED_LIMITS, tables
from tests.experiments.planner.pages import MACHINES, MODELS, small_tables
from zo2sim.machines import what_if
from zo2sim.models.presets import resolve
from zo2sim.plan.refusals import refusal
from zo2sim.predict.case import Case
from zo2sim.predict.predict import Prediction, predict
from zo2sim.search.candidates import Candidates
from zo2sim.search.space import PlanSpace, plan_axes

MODEL = resolve(MODELS[0])
LAST = len(MICROBATCHES) - 1


def predicted(table: int, plan: int, machine: int, load: int) -> Prediction:
    own = small_tables()[table]
    return predict(
        Case(
            model=MODEL,
            machine=MACHINES[machine],
            plan=own.plans[plan],
            recipe=replace(own.recipe, microbatches=MICROBATCHES[load]),
        )
    )


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.key)
def test_no_stored_plan_is_refused(kind):
    plans = stored_plans(MODEL, kind.recipe)
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


@pytest.mark.parametrize("table", [0, 3])
@pytest.mark.parametrize("load", [0, LAST])
def test_stored_numbers_are_the_engine_s(table: int, load: int):
    own = small_tables()[table]
    for plan in (0, 2, len(own.plans) - 1):
        found = predicted(table, plan, 2, load)
        assert own.memory[:, plan, load].tolist() == [p.needed_bytes for p in found.fits]
        assert own.lower_s[plan, 2, load] <= found.step_s * (1 + 1e-9)
        assert found.step_s <= own.upper_s[plan, 2, load] * (1 + 1e-9)
        limits = found.bound.limits_s
        assert own.compute_s[plan, 2, load] == pytest.approx(limits["compute"])
        for number, name in enumerate(SHARED_LIMITS):
            if name in limits:
                assert own.shared_s[number, plan, 2] == pytest.approx(limits[name])


def test_nearly_every_step_is_known_within_two_percent():
    known = [np.mean(table.upper_s <= 1.04 * table.lower_s) for table in small_tables()]
    assert min(known) > 0.9


def test_machines_of_other_contexts_are_refused():
    other = what_if.replace(MACHINES[0], "device.context_bytes", 1e9)
    with pytest.raises(ValueError, match=r"must have contexts of one size; they have \[10"):
        next(tables(MODEL, (MACHINES[1], other)))


def test_a_machine_s_bands_are_those_of_cases_that_the_limit_binds():
    known = Known.of(MACHINES[2])
    assert [*known.typical] == ["compute", "link", "drive"]
    bands = {kind: trust["band"] for kind, trust in known.content["trust"].items()}
    assert all(low < 1.0 < high for low, high in bands.values())
    assert bands["compute"] != bands["link"]
