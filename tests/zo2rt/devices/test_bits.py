"""Several devices change no bit: weights and records are those of one, whoever has what."""

from functools import partial
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.families import batch, build
from tests.thorough import THOROUGH, examples
from tests.zo2rt.engine.engine_cases import DEVICES, TRIED, Case
from tests.zo2rt.engine.engine_runs import NUM_STEPS, OPTIMIZER, engine, recipe, resident, run, same
from zo2rt.backends import HostBackend, VirtualBackend
from zo2rt.engine.engine import Engine, Objective
from zo2rt.model.loss import model_loss
from zo2sim.dtypes import Dtype
from zo2sim.plan import refusals
from zo2sim.plan.choices import Placement, Plan, Policy

POLICIES = [policy for policy in Policy if not policy.traits.published]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Every kind of plan that several devices can have."""
    policy, placement = draw(st.sampled_from(POLICIES)), draw(st.sampled_from(get_args(Placement)))
    plan = Plan(
        policy=policy,
        devices=draw(st.integers(2, 4)),
        placement=placement,
        lane_groups=draw(st.integers(1, 4 if THOROUGH else 2)) if placement == "ring" else 1,
        write_back_every=draw(st.integers(1, NUM_STEPS - 1)) if policy is Policy.ZO2 else 1,
        num_slots=draw(st.integers(1, 3)),
        scratch_copies=draw(st.integers(1, 2)),
        resident_blocks=draw(st.integers(0, 1)),
    )
    how = recipe(
        draw(st.sampled_from([Dtype.FP32, Dtype.BF16])),
        microbatches=plan.lane_parts * draw(st.integers(1, 2 if THOROUGH else 1)),
        samples=draw(st.integers(1, 2)) if plan.lane_groups == 1 else 1,
        noise=draw(st.sampled_from(["gaussian", "rademacher"])),
    )
    assume(refusals.refusal(plan, how) is None)
    return Case(plan, how)


@given(cases(), st.sampled_from(["opt", "llama"]), st.integers(0, 2**32))
@settings(max_examples=examples(16, ordinary=6))
def test_no_plan_of_several_devices_changes_a_bit(case: Case, family: str, seed: int):
    """In any order that its schedule allows."""
    backend = partial(VirtualBackend, seed, devices=case.plan.devices)
    same(run(family, case.plan, case.recipe, backend), resident(family, case.recipe))


@pytest.mark.parametrize("name", [name for name in TRIED if name in DEVICES])
def test_threads_change_none_either(name: str):
    case = DEVICES[name]
    ran = run("opt", case.plan, case.recipe, partial(HostBackend, devices=case.plan.devices))
    same(ran, resident("opt", case.recipe))


def test_a_run_goes_on_with_other_devices(tmp_path: Path):
    """Whatever they share and however they share it: the journal knows nothing of it."""
    data = [batch("opt", seed=seed) for seed in range(4)]
    plans = [Plan(devices=2), Plan(), Plan(devices=2, placement="sliced"), Plan(devices=3)]
    model = None
    for number, (plan, one) in enumerate(zip(plans, data, strict=True)):
        backend = partial(VirtualBackend, devices=plan.devices)
        model = build("opt")
        with engine(model, plan, recipe(), data[0], backend, folder=tmp_path) as trained:
            assert trained.num_steps == number
            trained.step(one)
    alone = build("opt")
    with engine(alone, Plan(policy=Policy.RESIDENT), recipe(), data[0]) as trained:
        for one in data:
            trained.step(one)
    assert model is not None
    assert all(a.equal(b) for a, b in zip(model.parameters(), alone.parameters(), strict=True))


@pytest.mark.parametrize("name", ["ring of two", "whole on two"])
def test_a_bad_batch_leaves_all_devices_as_they_were(name: str):
    case, data = DEVICES[name], [batch("opt", seed=seed) for seed in range(2)]
    failing = list[str]()

    def loss_fn(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        if failing:
            raise KeyError("spoilt")
        return model_loss(model, batch)

    model, twin = build("opt"), build("opt")
    for one, spoilt in ((model, True), (twin, False)):
        objective = Objective(example=data[0], loss_fn=loss_fn)
        with (
            HostBackend(devices=2) as place,
            Engine(one, *case, objective, backend=place, optimizer=OPTIMIZER) as trained,
        ):
            trained.step(data[0])
            if spoilt:
                failing.append("now")
                with pytest.raises(KeyError, match="spoilt"):
                    trained.step(data[1])
                failing.clear()
            trained.step(data[1])
    assert all(a.equal(b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_a_plan_of_more_devices_than_there_are_is_refused():
    with (
        pytest.raises(ValueError, match=r"devices=3 needs a backend with as many; it has 2"),
        engine(
            build("opt"), Plan(devices=3), recipe(), batch("opt"), partial(HostBackend, devices=2)
        ),
    ):
        pass


def test_what_ran_is_what_was_scheduled_on_every_device():
    plan = Plan(devices=2)
    trace = run("opt", plan, recipe(), partial(VirtualBackend, devices=2)).trace
    tracks = {str(span.op.track) for span in trace.spans}
    assert {"compute", "compute%1", "h2d", "h2d%1", "peer", "peer%1"} <= tracks
