"""Predictions: bounds below steps, verdicts, and what the numbers rest on."""

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.answer.advice import advise
from tests.strategies import plans
from tests.thorough import examples
from zo2sim.machines.file import named
from zo2sim.machines.what_if import replace
from zo2sim.memory.account import MemoryPlace
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Noise, Plan, Policy, Recipe
from zo2sim.plan.file import from_fields
from zo2sim.plan.refusals import refusal
from zo2sim.policies import Shape
from zo2sim.predict.case import Case
from zo2sim.predict.predict import Prediction, extrapolations, predict

SMALL = preset("opt-125m")
A100 = named("a100-pcie-80gb")


def case(model: str = "opt-125m", machine: str = "a100-pcie-80gb", **choices: Any) -> Case:
    """A case by names; ``choices`` are fields of the plan or the recipe."""
    plan = {k: v for k, v in choices.items() if k in Plan.__dataclass_fields__}
    recipe = {k: v for k, v in choices.items() if k not in plan}
    return Case(
        model=preset(model),
        machine=named(machine),
        plan=from_fields(Plan, plan),
        recipe=from_fields(Recipe, recipe),
    )


def prediction(**choices: Any) -> Prediction:
    return predict(case(**choices))


# Time


@settings(deadline=None, max_examples=examples(40))
@given(plan=plans(Shape.of(SMALL)), noise=st.sampled_from(get_args(Noise)), batch=st.integers(1, 9))
def test_no_step_beats_its_bound(plan: Plan, noise: Noise, batch: int):
    recipe = Recipe(batch=batch, noise=noise)
    if refusal(plan, recipe) is None:
        found = predict(Case(model=SMALL, machine=A100, plan=plan, recipe=recipe))
        assert found.step_s >= found.bound.step_s * (1 - 1e-9)
        assert found.gap >= -1e-9


def test_tokens_count_once_whatever_the_samples():
    found = prediction(batch=2, sequence=128, microbatches=3, samples=4)
    assert found.tokens_per_s * found.step_s == pytest.approx(2 * 128 * 3)


def test_policies_rank_as_the_paper_says():
    """Each idea of ZO2 makes the step shorter; nothing beats a model that stays on the device."""
    times = [prediction(policy=p).step_s for p in ("resident", "zo2")]
    times += [prediction(policy=p).step_s for p in ("dual", "naive")]
    assert times == sorted(times)


def test_more_slots_never_cost_time():
    times = [prediction(num_slots=slots).step_s for slots in (1, 2, 4)]
    assert times == sorted(times, reverse=True)


def test_busy_time_is_no_longer_than_the_step():
    found = prediction(write_back_every=4)
    assert max(found.steady.busy_s.values()) <= found.steady.length_s * (1 + 1e-9)
    assert found.steady.length_s == pytest.approx(4 * found.step_s)


# Memory


def test_what_fits_is_decided_at_every_place():
    short = replace(A100, "host.memory_mib", 100)
    found = predict(Case(model=SMALL, machine=short, plan=Plan(), recipe=Recipe()))
    assert [f.place for f in found.fits if not f.fits] == [MemoryPlace.HOST]
    assert found.fit is False


def test_published_figures_count_untied_embeddings_for_mezo_only():
    mezo, zo2 = prediction(policy=Policy.RESIDENT), prediction()
    assert mezo.published.device_bytes != mezo.memory.device_bytes
    assert zo2.published is zo2.memory


def test_the_published_code_has_no_integer_formats():
    """So a resident model of four bits is counted as this runtime has it, and nothing fails."""
    found = prediction(policy=Policy.RESIDENT, trainable="lora:4", storage_dtype="int4")
    assert found.published is found.memory


# Provenance


def test_a_measured_device_extrapolates_less_than_a_scaled_one():
    half = {f"{use}_dtype": "bf16" for use in ("storage", "wire", "compute")}
    measured = extrapolations(case("opt-13b", "a100-sxm-80gb", sequence=1024, **half))
    scaled = extrapolations(case("opt-13b", "rtx-4090-24gb", sequence=1024, **half))
    assert len(measured) < len(scaled)


def test_assumptions_that_the_case_does_not_use_are_not_named():
    resident = prediction(machine="rtx-4090-24gb", policy="resident").provenance["assumed"]
    streamed = prediction(machine="rtx-4090-24gb").provenance["assumed"]
    on_disk = prediction(machine="rtx-4090-24gb", tier="nvme").provenance["assumed"]
    assert ("host." in resident, "host." in streamed) == (False, True)
    assert ("nvme." in streamed, "nvme." in on_disk) == (False, True)


def test_a_changed_constant_is_an_assumption():
    machine = replace(A100, "link.h2d_gb_per_s", 20)
    found = predict(Case(model=SMALL, machine=machine, plan=Plan(), recipe=Recipe()))
    assert "link.h2d_bytes_per_s" in found.provenance["assumed"]
    assert found.provenance["link"] == "set for a what-if"


# Refusals


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"policy": "naive", "write_back_every": 2}, "policy=naive: write_back_every > 1 needs"),
        ({"write_back_every": 65}, "write_back_every must be at most 64 to be predicted; got 65"),
        ({"resident_blocks": 13}, "resident_blocks must be at most the model's 12 blocks; got 13"),
        ({"machine": "t4-16gb", "compute_dtype": "bf16"}, "lacks bf16 arithmetic"),
        ({"machine": "this-host", "tier": "nvme"}, r"tier=nvme needs an \[nvme\] section"),
        ({"batch": 10**200}, "must take less than"),
    ],
)
def test_what_cannot_be_predicted_is_refused(choices: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        prediction(**choices)


# Advice


def test_advice_fits_and_helps_best_first():
    base = prediction()
    advice = advise(base, most=2)
    rates = [a.prediction.tokens_per_s for a in advice]
    assert len(rates) == 2
    assert rates == sorted(rates, reverse=True)
    assert min(rates) > 1.02 * base.tokens_per_s
    assert all(a.prediction.fit for a in advice)


def test_of_one_field_one_value_is_advised():
    flags = [a.change.rpartition(" ")[0] for a in advise(prediction(), most=9)]
    assert len(flags) == len(set(flags))
    assert "--microbatches" in flags


def test_what_cannot_gain_enough_is_not_looked_at(monkeypatch: pytest.MonkeyPatch):
    """Compute binds: neither a slot more nor blocks that stay take anything from it."""
    base = prediction(machine="t4-16gb", model="opt-1.3b")
    assert base.bound.binding == "compute"
    tried: list[Case] = []

    def counted(case: Case) -> Prediction:
        tried.append(case)
        return predict(case)

    monkeypatch.setattr("experiments.answer.advice.predict", counted)
    advise(base, most=9)
    assert {case.plan.num_slots for case in tried} == {2}
    assert {case.plan.resident_blocks for case in tried} == {0}
    assert len(tried) == 3


_MEZO = Recipe(noise="torch", perturbation="in_place", reference="mezo")


@pytest.mark.parametrize("recipe", [Recipe(), _MEZO], ids=["own", "mezo"])
def test_where_nothing_fits_advice_is_what_does(recipe: Recipe):
    machine = replace(A100, "device.memory_gb", 3.5)
    resident = Plan(policy=Policy.RESIDENT)
    base = predict(Case(model=preset("opt-1.3b"), machine=machine, plan=resident, recipe=recipe))
    assert base.fit is False
    advice = advise(base)
    assert "--policy zo2" in [a.change for a in advice]
    assert all(a.prediction.fit for a in advice)
