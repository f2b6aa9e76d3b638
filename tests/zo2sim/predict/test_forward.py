"""One forward pass alone: the read-only traversal of a schedule, from start to end."""

from dataclasses import replace

import numpy as np
import pytest

from zo2sim.machines.file import named
from zo2sim.machines.what_if import scale_link
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.workload import Workload
from zo2sim.predict.bands import band
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict
from zo2sim.predict.vectorised import step_s
from zo2sim.schedule.ops import Kind, Stream

FORWARD = Workload(work="forward")
RESIDENT = Plan(policy=Policy.RESIDENT)


def case(
    plan: Plan = RESIDENT,
    *,
    workload: Workload = FORWARD,
    batch: int = 8,
    sequence: int = 256,
    microbatches: int = 1,
) -> Case:
    load = Recipe(batch=batch, sequence=sequence, microbatches=microbatches)
    return Case(
        model=preset("opt-1.3b"),
        machine=named("a100-sxm-80gb"),
        plan=plan,
        recipe=load,
        workload=workload,
    )


def seconds(one: Case) -> float:
    return predict(one).step_s


def test_a_resident_forward_is_every_unit_once():
    one = case()
    cost = one.cost
    ops = one.program.period.ops
    assert [op.unit for op in ops if op.kind is Kind.FORWARD] == [-1, *range(24), -2]
    assert seconds(one) == pytest.approx(sum(float(cost(op).alone_s(cost.rates)) for op in ops))


@pytest.mark.parametrize("policy", [p for p in Policy if p is not Policy.ZO2_REFERENCE])
def test_nothing_is_written_back_updated_or_perturbed(policy: Policy):
    one = case(Plan(policy=policy))
    kinds = {op.kind for op in one.program.period.ops}
    assert kinds <= {Kind.H2D, Kind.FORWARD, Kind.LOSS, Kind.READ, Kind.ENCODE, Kind.ALLOC}
    assert {op.lanes for op in one.program.period.ops if op.kind is Kind.FORWARD} == {"0"}


def test_a_streamed_forward_takes_the_longer_of_computing_and_copying_a_block():
    plan = Plan(num_slots=3)
    slow = replace(case(plan), machine=scale_link(named("a100-sxm-80gb"), 0.1))
    cost = slow.cost
    copy = next(op for op in slow.program.period.ops if op.kind is Kind.H2D)
    copies_s = 24 * float(cost(copy).alone_s(cost.rates))
    assert copies_s < seconds(slow) < 1.06 * copies_s
    fast = replace(case(plan, batch=64), machine=scale_link(named("a100-sxm-80gb"), 4.0))
    resident = replace(fast, plan=RESIDENT)
    assert seconds(resident) < seconds(fast) < 1.03 * seconds(resident)


def test_blocks_that_stay_are_not_copied():
    slow = scale_link(named("a100-sxm-80gb"), 0.05)
    all_s, half_s = (
        seconds(replace(case(Plan(resident_blocks=stay)), machine=slow)) for stay in (0, 12)
    )
    assert half_s == pytest.approx(0.5 * all_s, rel=0.08)


def test_a_forward_has_one_lane_per_microbatch():
    once, four = (seconds(case(microbatches=m)) for m in (1, 4))
    assert four == pytest.approx(4 * once, rel=0.01)


def test_a_step_takes_two_forwards_and_more():
    step = predict(replace(case(), workload=Workload())).step_s
    assert 2.0 * seconds(case()) < step < 3.5 * seconds(case())


def test_eager_attention_takes_longer_and_the_more_the_longer_the_sequence():
    def ratio(sequence: int) -> float:
        fused, eager = (
            seconds(
                case(batch=4, sequence=sequence, workload=Workload(work="forward", attention=a))
            )
            for a in ("fused", "eager")
        )
        return eager / fused

    assert 1.0 < ratio(256) < ratio(1024) < ratio(2048)


def test_an_lm_head_that_sees_the_last_token_saves_its_product():
    every, last = (
        seconds(case(workload=Workload(work="forward", logits=logits)))
        for logits in ("all", "last")
    )
    one = case()
    head_s = one.cost.setting.kernels.gemm_s(8 * 256, one.model.vocab, one.model.hidden)
    assert every - last == pytest.approx(head_s, rel=0.1)


def test_logits_of_the_last_token_are_no_loss():
    with pytest.raises(ValueError, match="logits must be all in a step"):
        Workload(logits="last")


@pytest.mark.parametrize("plan", [RESIDENT, Plan(), Plan(num_slots=1), Plan(tier="nvme")])
def test_the_fast_path_agrees_with_the_simulator(plan: Plan):
    cases = [case(plan, batch=batch) for batch in (1, 8)]
    assert step_s(cases) == pytest.approx(np.array([seconds(one) for one in cases]))


@pytest.mark.parametrize("plan", [RESIDENT, Plan(), Plan(pinning="staged")])
def test_a_forward_has_a_bound_and_a_band(plan: Plan):
    found = predict(case(plan))
    assert found.bound.step_s <= found.step_s * (1 + 1e-9)
    own = band(found)
    assert own.low_step_s < found.step_s < own.high_step_s


def test_the_trace_of_a_forward_is_all_of_it():
    found = predict(case(Plan()))
    assert found.trace.steady.length_s == found.trace.makespan_s == found.step_s
    assert found.steady.busy_s[Stream.COMPUTE] < found.step_s


def test_staged_copies_are_between_pageable_and_page_locked_ones():
    machine = scale_link(named("h100-pcie-80gb"), 0.1)
    times = [
        seconds(replace(case(Plan(pinning=way)), machine=machine))
        for way in ("exact", "staged", "pageable")
    ]
    assert times == sorted(times)
    assert times[0] < times[1] < times[2]
