"""Costs: what must not get cheaper, what scales, and the amounts that can be counted by hand."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zo2sim.cost import CostModel
from zo2sim.cost.forward import LOSS_BYTES_PER_LOGIT, moving_s
from zo2sim.cost.passes import decode_s, rescale_s
from zo2sim.cost.transfer import over_link
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named
from zo2sim.machines.what_if import replace as replace_number
from zo2sim.machines.what_if import replace_all
from zo2sim.models.presets import preset
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.workload import Workload
from zo2sim.schedule.ops import HEAD, TAIL, Kind, Op, Stream
from zo2sim.simulate.work import Resource

SMALL, LARGE, MOE = preset("opt-1.3b"), preset("opt-13b"), preset("mixtral-8x7b")
A100 = named("a100-pcie-80gb")
MACHINES = ("a100-pcie-80gb", "h100-sxm-80gb", "l40s-48gb", "rtx-4090-24gb", "t4-16gb", "this-host")
_STREAMS = {Kind.H2D: Stream.H2D, Kind.D2H: Stream.D2H, Kind.ENCODE: Stream.HOST}


def op(kind: Kind, unit: int = 0, *, lanes: str = "+-", records: int = 1) -> Op:
    stream = _STREAMS.get(kind, Stream.COMPUTE)
    if kind is Kind.FORWARD:
        return Op(kind=kind, stream=stream, unit=unit, lanes=lanes)
    return Op(kind=kind, stream=stream, unit=unit, records=records if kind is Kind.UPDATE else 0)


def cost(model: Model = SMALL, machine: str = "a100-pcie-80gb", **choices: Any) -> CostModel:
    """A cost model; ``choices`` are fields of the plan or the recipe."""
    plan = {k: v for k, v in choices.items() if k in Plan.__dataclass_fields__}
    recipe = {k: v for k, v in choices.items() if k not in plan}
    return CostModel.of(model, named(machine), Plan(**plan), Recipe(**recipe))


def seconds(model: CostModel, what: Op) -> float:
    return float(model(what).alone_s(model.rates))


def forward_s(unit: int = 0, lanes: str = "+-", **choices: Any) -> float:
    return seconds(cost(**choices), op(Kind.FORWARD, unit, lanes=lanes))


# Forward


@settings(deadline=None)
@given(
    machine=st.sampled_from(MACHINES),
    batch=st.integers(1, 32),
    blocks_of_128=st.integers(1, 32),
    times=st.integers(2, 4),
    unit=st.sampled_from((HEAD, 0, TAIL)),
)
def test_more_tokens_are_never_cheaper(
    machine: str, batch: int, blocks_of_128: int, times: int, unit: int
):
    load: dict[str, Any] = {"sequence": 128 * blocks_of_128, "machine": machine}
    few = forward_s(unit, batch=batch, **load)
    assert forward_s(unit, batch=times * batch, **load) >= few
    load["sequence"] *= times
    assert forward_s(unit, batch=batch, **load) >= few


@settings(deadline=None)
@given(microbatches=st.integers(1, 100), samples=st.integers(1, 8), unit=st.sampled_from((0, TAIL)))
def test_lanes_scale_with_microbatches(microbatches: int, samples: int, unit: int):
    """W+ and W- are built once per sample, whatever the number of microbatches."""

    def lanes_s(count: int) -> float:
        return forward_s(unit, microbatches=count, samples=samples)

    each = lanes_s(2) - lanes_s(1)
    assert lanes_s(microbatches) == pytest.approx(lanes_s(1) + (microbatches - 1) * each)


def test_a_sample_is_two_more_lanes_and_two_more_builds():
    assert forward_s(samples=3) == pytest.approx(3 * forward_s(samples=1))


def test_unperturbed_lanes_run_once_per_microbatch():
    assert forward_s(lanes="0", microbatches=5, samples=7) == pytest.approx(
        5 * forward_s(lanes="0")
    )
    assert 2 * forward_s(lanes="0") < forward_s()


def test_fp32_compute_is_slower():
    assert forward_s(compute_dtype=Dtype.FP32) > 2 * forward_s(compute_dtype=Dtype.FP16)


def test_bf16_takes_what_fp16_takes():
    half: dict[str, Any] = {
        "storage_dtype": Dtype.BF16,
        "wire_dtype": Dtype.BF16,
        "compute_dtype": Dtype.BF16,
    }
    assert forward_s(**half) == forward_s()


def test_building_both_at_once_is_no_slower_than_one_after_the_other():
    assert forward_s(scratch_copies=2) < forward_s(scratch_copies=1)
    assert forward_s(scratch_copies=2, lanes="+") == forward_s(scratch_copies=1, lanes="+")


def build_s(lanes: str, **choices: Any) -> float:
    """What a FORWARD takes beside its lanes: building the weights that they run with."""
    without = len(lanes) * forward_s(lanes="0", **choices)
    return forward_s(lanes=lanes, **choices) - without


def test_in_place_takes_a_third_pass_to_restore():
    """+eps, -2 eps, +eps; the trip of W- alone restores too. Each reads and writes theta."""
    elements, device = SMALL.blocks[0].elements, A100.device
    moved_s = 2 * elements * 2 / device.pass_bytes_per_s
    drawn_s = elements / device.rademacher_noise_elements_per_s.value
    one_s = max(moved_s, drawn_s)
    for lanes, passes in (("+-", 3), ("+", 1), ("-", 2)):
        found = build_s(lanes, perturbation="in_place", noise="rademacher")
        assert found == pytest.approx(passes * one_s)
    scratch = {"noise": "rademacher", "perturbation": "scratch"}
    assert build_s("+-", **scratch) == pytest.approx(2 * one_s)


def test_a_tensor_of_noise_per_parameter_moves_eight_times_its_bytes():
    """Where nothing else is slower, a build is what its kernels move."""
    fast = replace_all(A100, {"device.torch_noise_elements_per_s": 1e15})
    found = CostModel.of(LARGE, fast, Plan(), Recipe(noise="torch"))
    built = seconds(found, op(Kind.FORWARD)) - 2 * seconds(found, op(Kind.FORWARD, lanes="0"))
    moved_s = 8 * 2 * LARGE.blocks[0].elements / A100.device.pass_bytes_per_s
    assert built == pytest.approx(2 * moved_s)


def test_every_block_that_stays_is_recoded_on_the_device():
    stays: dict[str, Any] = {"policy": Policy.RESIDENT, "noise": "rademacher"}
    recoded = stays | {"wire_dtype": Dtype.FP8}
    assert forward_s(0, **recoded) == forward_s(1, **recoded) > forward_s(0, **stays)


def test_a_step_s_tail_moves_its_logits_for_the_loss_and_a_pass_alone_does_not():
    setting, tail = cost(batch=2, sequence=8).setting, SMALL.tail
    rate, logits = A100.device.pass_bytes_per_s, SMALL.vocab * 2 * 8
    moved = 2 * tail.moved(2, 8)
    loss = logits * (2 + LOSS_BYTES_PER_LOGIT)
    assert moving_s(setting, TAIL, eager=False) == pytest.approx((moved + loss) / rate)
    once = replace(setting, workload=Workload(work="forward"))
    assert moving_s(once, TAIL, eager=False) == pytest.approx(moved / rate)


def test_launches_bound_a_lane_from_below():
    """Where a launch takes 1 ms, one token's kernels wait for theirs."""
    slow = replace_number(A100, "device.launch_ms", 1.0)
    model = CostModel.of(SMALL, slow, Plan(), Recipe(sequence=1))
    launches_s = SMALL.blocks[0].kernels * 1e-3
    assert seconds(model, op(Kind.FORWARD, lanes="0")) == pytest.approx(launches_s, rel=0.02)


@pytest.mark.parametrize("tokens", [1, 7, 2048])
def test_experts_compute_the_tokens_that_are_routed_to_them(tokens: int):
    """Mixtral: 2 of 8 experts per token, so an expert sees a quarter of the rows, at least one."""
    model = cost(MOE, sequence=tokens)
    experts = [g for g in MOE.blocks[0].gemms if g.rows_per_token < 1.0]
    assert {g.rows_per_token for g in experts} == {2 / 8}
    assert {g.count for g in experts} <= {8, 16}
    kernels = model.setting.kernels
    rows = max(1.0, tokens / 4)
    experts_s = sum(g.count * kernels.gemm_s(rows, g.n, g.k) for g in experts)
    assert seconds(model, op(Kind.FORWARD, lanes="0")) >= experts_s


def test_experts_cost_less_than_if_all_saw_every_token():
    block = MOE.blocks[0]
    dense = tuple(replace(g, rows_per_token=1.0) for g in block.gemms)
    everyone = replace(MOE, name="dense", blocks=(replace(block, gemms=dense),) * MOE.num_blocks)
    assert forward_s(model=MOE, lanes="0") < 0.5 * forward_s(model=everyone, lanes="0")


# Update


@settings(deadline=None)
@given(records=st.integers(1, 64), samples=st.integers(1, 8))
def test_an_update_replays_records_in_one_pass(records: int, samples: int):
    """Noise is drawn per record and sample, theta is read and written once."""
    model, device = cost(samples=samples), A100.device
    elements = SMALL.blocks[0].elements
    memory_s = 2 * 2 * elements / device.memory_bytes_per_s.value
    noise_s = elements * records * samples / device.noise_elements_per_s("gaussian").value
    found = seconds(model, op(Kind.UPDATE, records=records))
    assert found == pytest.approx(max(memory_s, noise_s))


def test_no_record_takes_no_time():
    assert seconds(cost(), op(Kind.UPDATE, records=0)) == 0.0
    assert seconds(cost(policy=Policy.HOST_UPDATE), op(Kind.HOST_UPDATE)) == 0.0


def test_the_published_code_takes_longer_for_both():
    published = cost(policy=Policy.ZO2_REFERENCE, perturbation="in_place", noise="torch")
    for kind in (Kind.UPDATE, Kind.FORWARD, Kind.H2D):
        assert seconds(published, op(kind)) > seconds(cost(), op(kind))


def test_adapters_live_with_the_head():
    model = cost(trainable="lora:8")
    assert seconds(model, op(Kind.UPDATE, unit=0)) == 0.0
    assert seconds(model, op(Kind.UPDATE, unit=HEAD)) > 0.0
    blocks = sum(sum(block.beside(8, Dtype.FP16)) for block in SMALL.blocks)
    assert model.setting.trained(HEAD) == blocks
    assert forward_s(trainable="lora:8") < forward_s()


# Copies


@pytest.mark.parametrize("kind", [Kind.H2D, Kind.D2H])
def test_a_copy_takes_latency_ramp_and_bytes(kind: Kind):
    link = A100.link
    rate = (link.h2d_bytes_per_s if kind is Kind.H2D else link.d2h_bytes_per_s).value
    nbytes = SMALL.blocks[0].buffer_bytes(Dtype.FP16)
    whole = link.latency_s.value + (link.half_size_bytes.value + nbytes) / rate
    assert seconds(cost(), op(kind)) == pytest.approx(whole)


def test_what_goes_over_the_link_in_one_piece_starts_once():
    link, nbytes = A100.link, 1 << 20
    work = over_link(cost().setting, nbytes, Resource.LINK_H2D)
    ramp_s = link.half_size_bytes.value / link.h2d_bytes_per_s.value
    assert work.fixed_s == pytest.approx(link.latency_s.value + ramp_s)


def test_an_fp8_wire_carries_a_scale_per_row():
    model = cost(LARGE, policy=Policy.HOST_UPDATE, wire_dtype=Dtype.FP8)
    block = LARGE.blocks[0]
    sizes = [p.elements + 4 * p.rows for p in block.parameters]
    padded = sum(-(-size // 256) * 256 for size in sizes)
    assert model(op(Kind.H2D)).amounts[Resource.LINK_H2D] == padded
    assert padded > block.elements
    wide = block.buffer_bytes(Dtype.FP16)
    assert model(op(Kind.ENCODE)).amounts[Resource.DRAM] == wide + padded


@pytest.mark.parametrize("machine", [m for m in MACHINES if m != "this-host"])
@pytest.mark.parametrize("kind", [Kind.H2D, Kind.D2H])
def test_pageable_memory_is_slower_and_passes_dram_three_times(machine: str, kind: Kind):
    pinned, pageable = cost(machine=machine), cost(machine=machine, pinning="pageable")
    assert seconds(pageable, op(kind)) > seconds(pinned, op(kind))
    dram = Resource.DRAM
    assert pageable(op(kind)).amounts[dram] == 3 * pinned(op(kind)).amounts[dram]


def test_alike_blocks_are_priced_once():
    model = cost()
    assert model(op(Kind.FORWARD, 0)) is model(op(Kind.FORWARD, 23))


# What is refused


@pytest.mark.parametrize("machine", ["v100-sxm-32gb", "t4-16gb"])
def test_a_format_that_the_card_lacks_is_refused(machine: str):
    name = named(machine).device.name
    with pytest.raises(ValueError, match=re.escape(f"{name} lacks bf16 arithmetic; use fp16 or")):
        forward_s(machine=machine, compute_dtype=Dtype.BF16)


def test_a_tier_that_the_machine_lacks_is_refused():
    read = Op(kind=Kind.READ, stream=Stream.NVME_READ, unit=0)
    with pytest.raises(ValueError, match=r"this-host: tier=nvme needs an \[nvme\] section"):
        cost(machine="this-host", tier="nvme")(read)


@pytest.mark.parametrize("power", [200, 310, 400])
def test_what_no_clock_can_count_is_refused(power: int):
    with pytest.raises(ValueError, match=r"FORWARD: an operation must take less than 1e\+100"):
        forward_s(microbatches=10**power)


@pytest.mark.parametrize(("lanes", "decodes"), [("+-", 6), ("+", 3), ("0", 1)])
def test_trained_scales_decode_a_block_for_every_sign_and_sample(lanes: str, decodes: int):
    frozen: dict[str, Any] = {"storage_dtype": Dtype.INT4, "wire_dtype": Dtype.INT4, "samples": 3}
    setting = cost(trainable="scales", **frozen).setting
    assert rescale_s(setting, 0, lanes) == decodes * decode_s(setting, 0) > 0.0
    assert rescale_s(cost(trainable="lora:4", **frozen).setting, 0, lanes) == 0.0
