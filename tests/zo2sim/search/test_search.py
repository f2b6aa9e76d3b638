"""The search agrees with trying every plan: the best one, the bound, the front, the memory."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.strategies import odd_machines, small_models, spaces
from tests.thorough import examples
from tests.zo2sim.search.plan_spaces import Tried, every_tried
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named
from zo2sim.memory.placements import rooms
from zo2sim.memory.runtime import account
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.refusals import refusal
from zo2sim.predict.case import Case
from zo2sim.search.candidates import Candidates
from zo2sim.search.placement_bounds import bounds_s
from zo2sim.search.search import Effort, Limits, NothingFits, Objective, Search, choose, search
from zo2sim.search.space import SEARCHED, PlanSpace, plan_axes, recipe_axes
from zo2sim.simulate.bounds import bound

EXACT = Effort(tolerance=0.0, simulations=10_000, grain=0.0)
ROUNDING = 1 + 1e-9
OPT_125M = Case(
    model=preset("opt-125m"), machine=named("rtx-4090-24gb"), plan=Plan(), recipe=Recipe()
)


def answer(
    space: PlanSpace, objective: Objective = "tokens", effort: Effort = EXACT
) -> Search | None:
    try:
        return search(space, objective, effort=effort)
    except NothingFits:
        return None


def fitting(space: PlanSpace) -> list[Tried]:
    try:
        return [tried for tried in every_tried(space) if tried.fit]
    except ValueError:
        return []


def allowed(space: PlanSpace) -> bool:
    try:
        return bool(space.cores)
    except ValueError:
        return False


# Exhaustive enumeration


@settings(max_examples=examples(40))
@given(space=spaces())
def test_the_best_plan_is_that_of_trying_every_one(space: PlanSpace):
    assume(allowed(space))
    tried, found = fitting(space), answer(space)
    assert (found is None) == (tried == [])
    if found is None:
        return
    best = max(one.tokens_per_s for one in tried)
    assert found.best.tokens_per_s == pytest.approx(best, rel=1e-9)
    assert found.gap == pytest.approx(0.0, abs=1e-9)
    assert any(one.case == found.best.case for one in tried)


@settings(max_examples=examples(30))
@given(space=spaces(), simulations=st.integers(1, 3), tolerance=st.sampled_from((0.0, 0.05)))
def test_no_plan_beats_the_bound_however_early_the_search_stops(
    space: PlanSpace, simulations: int, tolerance: float
):
    assume(allowed(space))
    effort = Effort(tolerance=tolerance, simulations=simulations, grain=1.0)
    found = answer(space, effort=effort)
    assume(found is not None)
    assert found is not None
    tokens = found.best.case.recipe.tokens_per_step
    most = max(one.tokens_per_s for one in fitting(space))
    assert found.lower_bound_s <= tokens / most * ROUNDING
    assert found.lower_bound_s <= found.best.step_s


@settings(max_examples=examples(30))
@given(space=spaces())
def test_the_front_is_what_nothing_beats(space: PlanSpace):
    assume(allowed(space))
    found = answer(space)
    assume(found is not None)
    assert found is not None
    tried = fitting(space)
    shown = [
        (f.step_s / f.case.recipe.tokens_per_step, f.device_bytes, f.host_bytes)
        for f in found.pareto
    ]
    assert all(point.simulated for point in found.pareto)
    for one in tried:
        cost = 1 / one.tokens_per_s
        assert any(
            c <= cost * ROUNDING and d <= one.device_bytes and h <= one.host_bytes
            for c, d, h in shown
        )
    for c, d, h in shown:
        better = (
            o
            for o in tried
            if 1 / o.tokens_per_s * ROUNDING < c and o.device_bytes <= d and o.host_bytes <= h
        )
        assert next(better, None) is None


@settings(max_examples=examples(20))
@given(space=spaces(), grain=st.sampled_from((0.05, 0.3)))
def test_a_coarse_front_leaves_out_nothing_that_is_much_better(space: PlanSpace, grain: float):
    assume(allowed(space))
    found = answer(space, effort=replace(EXACT, grain=grain))
    assume(found is not None)
    assert found is not None
    near = (1 + grain) * ROUNDING
    for one in fitting(space):
        assert any(
            point.tokens_per_s * near >= one.tokens_per_s
            and point.device_bytes <= one.device_bytes * near
            and point.host_bytes <= one.host_bytes * near
            for point in found.pareto
        )


@settings(max_examples=examples(20))
@given(space=spaces())
def test_least_memory_is_the_least_of_every_plan(space: PlanSpace):
    assume(allowed(space))
    found = answer(space, "memory")
    assume(found is not None)
    assert found is not None
    least = min((one.device_bytes, one.host_bytes) for one in fitting(space))
    assert (found.best.device_bytes, found.best.host_bytes) == least


def test_samples_of_the_estimator_want_small_steps():
    axes = {"microbatches": (1, 4), "samples": (1, 4)}
    found = search(PlanSpace(base=OPT_125M, axes=axes), "samples", effort=EXACT).best
    assert (found.case.recipe.microbatches, found.case.recipe.samples) == (1, 4)
    assert found.samples_per_s == pytest.approx(4 / found.step_s)


# Bounds and memory of many plans at once


@st.composite
def placed_cases(draw: st.DrawFn) -> Case:
    """Any plan of the runtime for a small model, with any recipe that matters to its traffic."""
    policy = draw(st.sampled_from(SEARCHED))
    mine, on_host = policy is Policy.ZO2, policy is Policy.HOST_UPDATE
    switches = ("overlap", "reuse_slots", "deferred_update")
    model = draw(small_models())
    plan = Plan(
        policy=policy,
        write_back_every=draw(st.integers(1, 3)) if mine else 1,
        scratch_copies=draw(st.integers(1, 2)),
        tier=draw(st.sampled_from(("ram", "ram" if on_host else "nvme"))),
        pinning=draw(st.sampled_from(("exact", "rounded", "pageable"))),
        **cast(
            "dict[str, Any]", {name: draw(st.booleans()) if mine else True for name in switches}
        ),
    )
    recipe = Recipe(
        sequence=64,
        microbatches=draw(st.integers(1, 2)),
        samples=draw(st.integers(1, 2)),
        trainable=draw(st.sampled_from(("all", "lora:4"))),
        storage_dtype=draw(st.sampled_from((Dtype.FP16, Dtype.INT4))),
        wire_dtype=draw(st.sampled_from((Dtype.FP16, Dtype.FP8 if on_host else Dtype.FP16))),
        perturbation=draw(st.sampled_from(("scratch", "in_place"))),
        noise=draw(st.sampled_from(("gaussian", "torch"))),
    )
    if refusal(plan, recipe) is not None:
        plan, recipe = replace(plan, write_back_every=1), Recipe(sequence=64)
    return Case(model=model, machine=draw(odd_machines()), plan=plan, recipe=recipe)


@settings(max_examples=examples(60))
@given(case=placed_cases(), data=st.data())
def test_bounds_without_a_program_are_bounds(case: Case, data: st.DataObject):
    """The resources' limits are those of the whole program, and its own bound is never less."""
    residents, slots = range(case.model.num_blocks + 1), (1, 2, 3)
    row, column = data.draw(st.sampled_from(residents)), data.draw(st.sampled_from(range(3)))
    here = bounds_s(case, residents=residents, slots=slots)[row, column]
    one = replace(case, plan=replace(case.plan, resident_blocks=row, num_slots=slots[column]))
    whole = bound(one.program, one.cost, one.cost.rates)
    flat = max(limit for name, limit in whole.limits_s.items() if name != "dependencies")
    assert here <= whole.step_s * ROUNDING
    assert here >= flat / ROUNDING


@settings(max_examples=examples(60))
@given(case=placed_cases(), data=st.data())
def test_memory_of_a_grid_is_that_of_each_plan(case: Case, data: st.DataObject):
    residents, slots = range(case.model.num_blocks + 1), (1, 2, 3)
    row, column = data.draw(st.sampled_from(residents)), data.draw(st.sampled_from(range(3)))
    grid = rooms(
        case.model, case.plan, case.recipe, context_bytes=7, residents=residents, slots=slots
    )
    plan = replace(case.plan, resident_blocks=row, num_slots=slots[column])
    one = account(case.model, plan, case.recipe, context_bytes=7)
    found = grid.device[row, column], grid.host[row, column], grid.nvme[row, column]
    assert found == (one.device_bytes, one.host_bytes, one.nvme_bytes)


@pytest.mark.parametrize("policy", [Policy.ZO2_REFERENCE, Policy.RESIDENT])
def test_published_code_needs_the_same_wherever_blocks_are_said_to_be(policy: Policy):
    model, plan, recipe = OPT_125M.model, Plan(policy=policy), Recipe(noise="torch")
    grid = rooms(model, plan, recipe, context_bytes=7, residents=(0, 1), slots=(1, 2, 3))
    one = account(model, plan, recipe, context_bytes=7)
    assert grid.device.tolist() == [[one.device_bytes] * 3] * 2
    assert grid.host.tolist() == [[one.host_bytes] * 3] * 2


def test_plans_that_place_blocks_alike_count_once():
    axes = {"num_slots": (1, 2, 3), "resident_blocks": (10, 11, 12)}
    found = Candidates.of(PlanSpace(base=OPT_125M, axes=axes))
    assert list(zip(found.residents.tolist(), found.slots.tolist(), strict=True)) == [
        (10, 1),
        (10, 2),
        (11, 1),
        (12, 1),
    ]
    assert np.all(np.diff(found.device[:2]) > 0)


def test_everything_resident_leaves_nothing_to_place():
    axes = {"policy": (Policy.RESIDENT,), "num_slots": (1, 2), "resident_blocks": (0, 1, 2)}
    assert len(Candidates.of(PlanSpace(base=OPT_125M, axes=axes))) == 1


# The space


def test_free_axes_leave_the_result_as_it_is():
    assert set(plan_axes(OPT_125M)) & set(recipe_axes(Recipe())) == set()
    frozen = recipe_axes(Recipe(trainable="lora:4"))["storage_dtype"]
    assert frozen[-3:] == (Dtype.INT8, Dtype.INT4, Dtype.INT4_ASYM)
    assert not any(dtype.is_integer for dtype in recipe_axes(Recipe())["storage_dtype"])
    integers = Recipe(trainable="scales", storage_dtype=Dtype.INT4)
    assert recipe_axes(integers)["storage_dtype"] == frozen[-3:]
    space = PlanSpace(base=OPT_125M, axes=plan_axes(OPT_125M))
    assert {case.recipe for case in space.cores} == {Recipe()}
    assert {case.plan.pinning for case in space.cores} == {"exact"}


def test_integer_formats_travel_as_they_are_stored_and_give_way_to_float_ones():
    int4 = Recipe(trainable="lora:4", storage_dtype=Dtype.INT4)
    half = Recipe(trainable="lora:4")
    both = (Dtype.FP32, Dtype.FP16)
    for recipe, axes in (
        (int4, {"storage_dtype": (Dtype.FP16, Dtype.INT4)}),
        (half, {"storage_dtype": (Dtype.FP16, Dtype.INT4), "wire_dtype": both}),
    ):
        found = [
            core.recipe
            for core in PlanSpace(base=replace(OPT_125M, recipe=recipe), axes=axes).cores
        ]
        assert {(r.storage_dtype, r.wire_dtype) for r in found} == {
            (Dtype.FP16, Dtype.FP16),
            (Dtype.INT4, Dtype.INT4),
        }
        assert len(found) == 2


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"slots": (1,)}, "an axis must be a field of a plan or a recipe; got 'slots'"),
        ({"num_slots": ()}, "axis num_slots must have values"),
        ({"num_slots": (1, 1)}, "axis num_slots must have values, each once"),
        ({"policy": (Policy.ZO2_REFERENCE,)}, "stands for other code"),
        ({"resident_blocks": (13,)}, "at most the model's 12 blocks; got 13"),
    ],
)
def test_a_wrong_axis_is_named(axes: dict[str, tuple[object, ...]], message: str):
    with pytest.raises(ValueError, match=message):
        PlanSpace(base=OPT_125M, axes=axes)


def test_a_space_of_refused_plans_says_why():
    axes = {"policy": (Policy.DUAL, Policy.NAIVE), "write_back_every": (2, 3)}
    with pytest.raises(ValueError, match="no plan that is allowed: write_back_every > 1 needs"):
        _ = PlanSpace(base=OPT_125M, axes=axes).cores


def test_the_effort_has_limits():
    with pytest.raises(ValueError, match="simulations >= 1"):
        Effort(simulations=0)


# One call for a plan


def test_a_plan_is_chosen_within_the_limits():
    limits = Limits(device_bytes=2.8e9, host_bytes=8e9)
    plan = choose(OPT_125M.model, OPT_125M.machine, limits, Recipe())
    memory = account(
        OPT_125M.model,
        plan,
        Recipe(),
        context_bytes=int(OPT_125M.machine.device.context_bytes.value),
    )
    assert memory.device_bytes <= 2.8e9
    assert plan == choose(OPT_125M.model, OPT_125M.machine, limits, Recipe())


def test_a_chosen_plan_is_one_that_is_allowed():
    def streams(plan: Plan, _: Recipe) -> bool:
        return plan.policy is Policy.DUAL

    chosen = choose(OPT_125M.model, OPT_125M.machine, Limits(), Recipe(), allowed=streams)
    assert chosen.policy is Policy.DUAL


def test_nothing_fits_says_what_the_smallest_plans_need():
    with pytest.raises(NothingFits, match=r"smallest on the device needs 2\.\d of 0\.9 GiB"):
        choose(OPT_125M.model, OPT_125M.machine, Limits(device_bytes=1e9), Recipe())


def test_who_watches_a_search_is_told_of_every_plan_that_is_looked_at():
    base = Case(model=preset("opt-125m"), machine=named("l40s-48gb"), plan=Plan(), recipe=Recipe())
    told: list[tuple[int, int]] = []
    space = PlanSpace(base=base, axes={"num_slots": (1, 2, 3)})
    found = search(space, watch=lambda walked, simulated: told.append((walked, simulated)))
    assert told == sorted(told)
    assert told[-1] == (found.plans_walked, found.plans_simulated)
    assert found == search(space)
