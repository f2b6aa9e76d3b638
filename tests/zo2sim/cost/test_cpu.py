"""The linear law of a CPU as the device: what operations take, and what that costs."""

from dataclasses import replace
from itertools import pairwise
from math import log2
from typing import Any

import pytest

from tests.calibrated import calibrated_host
from zo2sim.cost.cpu import (
    HANDOVER,
    NEAR_BYTES,
    Amounts,
    _spilled,
    amounts,
    attention_amounts,
    gap,
    gemm_amounts,
    seconds,
    seconds_per,
    wake,
    woken,
)
from zo2sim.cost.transfer import over_link
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import dump, load, named
from zo2sim.machines.what_if import cap_link, replace_all
from zo2sim.models.config import from_config
from zo2sim.models.shapes import Attention
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict
from zo2sim.schedule.ops import HEAD, TAIL, Kind, Op, Stream
from zo2sim.simulate.events import simulate
from zo2sim.simulate.work import Resource

OPT = from_config(
    {
        "model_type": "opt",
        "hidden_size": 4,
        "ffn_dim": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "vocab_size": 16,
        "max_position_embeddings": 8,
        "word_embed_proj_dim": 4,
    },
    name="tiny opt",
)


def case(plan: Plan | None = None, dtype: Dtype = Dtype.FP32, **changes: Any) -> Case:
    recipe = Recipe(
        **{"batch": 1, "sequence": 2, **changes},
        storage_dtype=dtype,
        wire_dtype=dtype,
        compute_dtype=dtype,
    )
    return Case(model=OPT, machine=calibrated_host(), plan=plan or Plan(), recipe=recipe)


def taken(
    kind: Kind, unit: int, lanes: str = "", records: int = 0, *, microbatches: int = 1
) -> Amounts | None:
    setting = case(microbatches=microbatches).cost.setting
    return amounts(setting, kind, unit, lanes, records)


def test_an_adapter_takes_two_products_of_its_rank_and_a_sum():
    plain, adapted = (
        amounts(case(trainable=trainable).cost.setting, Kind.FORWARD, 0, "+", 0) or {}
        for trainable in ("all", "lora:3")
    )
    shapes = OPT.blocks[0].linear_shapes
    weights = sum(3 * (out + inp) for out, inp in shapes)
    more = {key: adapted[key] - plain[key] for key in plain if key.startswith("cpu.gemm")}
    assert more == {
        "cpu.gemm_flops_per_s": 2 * 2 * weights,  # two tokens
        "cpu.gemm_weight_elements_per_s": weights,
        "cpu.gemm_output_elements_per_s": 0,
    }


def test_what_a_core_has_near_is_not_read_from_afar():
    """Theta and W, of four bytes each."""
    near = NEAR_BYTES // 8
    assert [_spilled(near + more) for more in (-1, 0, 5)] == [0, 0, 5]


def test_a_block_takes_its_products_noise_and_hand_overs():
    one = taken(Kind.FORWARD, 0, "+-")
    assert one is not None
    weights = 4 * 4 * 4 + 2 * 4 * 8
    assert one["cpu.gemm_flops_per_s"] == 2 * 2 * 2 * weights  # signs, two per product, tokens
    assert one["cpu.gemm_weight_elements_per_s"] == 2 * weights
    assert one["cpu.gemm_output_elements_per_s"] == 2 * 2 * (5 * 4 + 8)
    assert one["cpu.softmax_elements_per_s"] == 2 * 2 * 4  # signs, heads, one block of queries
    assert one["cpu.gaussian_perturb_elements_per_s"] == 2 * OPT.blocks[0].elements
    assert one["cpu.call_s"] == 2 * len(OPT.blocks[0].parameters)
    assert one["cpu.build_s"] == 2
    assert one[HANDOVER] == 2 * 2  # there and back
    assert one["cpu.launch_s"] == 2 * OPT.blocks[0].kernels
    assert one["cpu.block_s"] == 2


def test_an_evaluation_runs_one_unperturbed_lane():
    one, both = taken(Kind.FORWARD, 0, "0"), taken(Kind.FORWARD, 0, "+-")
    assert one is not None
    assert both is not None
    assert 2 * one["cpu.gemm_flops_per_s"] == both["cpu.gemm_flops_per_s"]


@pytest.mark.parametrize("policy", Policy)
def test_a_core_sleeps_where_nothing_overlaps(policy: Policy):
    slow = replace(case(Plan(policy=policy)), machine=cap_link(calibrated_host(), 1e6))
    one = amounts(slow.cost.setting, Kind.FORWARD, 0, "+", 0)
    assert one is not None
    assert one["cpu.cold_s"] == (policy is Policy.NAIVE)


def test_a_core_that_slept_while_a_block_came_is_cold():
    def cold(plan: Plan, bytes_per_s: float, unit: int = 0) -> object:
        one = case(plan)
        setting = replace(one, machine=cap_link(one.machine, bytes_per_s)).cost.setting
        return (amounts(setting, Kind.FORWARD, unit, "+", 0) or {}).get("cpu.cold_s")

    naive, nbytes = Plan(policy=Policy.NAIVE), OPT.blocks[0].buffer_bytes(Dtype.FP32)
    assert cold(naive, nbytes / 2e-3) == 1
    assert cold(naive, nbytes / 0.2e-3) == 0
    assert cold(Plan(), nbytes / 2e-3) == 0  # something else runs meanwhile
    assert cold(naive, nbytes / 2e-3, HEAD) == 0  # it stays


def test_microbatches_add_lanes_and_no_noise():
    one, three = taken(Kind.FORWARD, 0, "+-"), taken(Kind.FORWARD, 0, "+-", microbatches=3)
    assert one is not None
    assert three is not None
    assert three["cpu.gemm_flops_per_s"] == 3 * one["cpu.gemm_flops_per_s"]
    for key in ("cpu.gaussian_perturb_elements_per_s", "cpu.call_s", "cpu.build_s"):
        assert three[key] == one[key]


def test_two_scratch_copies_come_from_one_draw():
    plan, elements = Plan(scratch_copies=2), OPT.blocks[0].elements
    one = amounts(case(plan).cost.setting, Kind.FORWARD, 0, "+-", 0)
    assert one is not None
    assert one["cpu.gaussian_perturb_elements_per_s"] == elements
    assert one["cpu.pass_elements_per_s"] == elements
    assert one["cpu.build_s"] == 1


def test_head_and_tail_take_what_is_theirs_alone():
    head, tail = taken(Kind.FORWARD, HEAD, "+-"), taken(Kind.FORWARD, TAIL, "+-")
    assert head is not None
    assert tail is not None
    assert head["cpu.lane_start_s"] == 2
    assert head["cpu.outer_launch_s"] == 2 * OPT.head.kernels
    assert "cpu.launch_s" not in head
    assert tail["cpu.lane_end_s"] == 2
    assert tail["cpu.loss_elements_per_s"] == 2 * 2 * 16
    shared = 16 * 4  # the tied embedding is perturbed again where the tail reads it
    assert tail["cpu.gaussian_perturb_elements_per_s"] == 2 * (OPT.tail.elements + shared)


def test_an_update_draws_for_every_record():
    assert taken(Kind.UPDATE, 0, records=3) == {
        "cpu.gaussian_update_elements_per_s": 3 * OPT.blocks[0].elements,
        "cpu.call_s": len(OPT.blocks[0].parameters),
        "cpu.touched_elements_per_s": OPT.blocks[0].elements,
        "cpu.pass_elements_per_s": 3 * OPT.blocks[0].elements,
        "cpu.pass_s": 1,
        "cpu.beside_s": 1,
    }
    assert taken(Kind.UPDATE, 0, records=0) == {}


def test_copies_are_the_link_s():
    assert taken(Kind.H2D, 0) is None


def test_an_fp32_norm_has_no_casts():
    llama = from_config(
        {
            "model_type": "llama",
            "hidden_size": 4,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": 16,
        },
        name="tiny llama",
    )
    norms, width = 2, 4
    assert llama.blocks[0].cast_elements == norms * 11 * width
    assert OPT.blocks[0].cast_elements == 0


@pytest.mark.parametrize(("seq", "pairs"), [(16, 16 * 16), (64, 64 * 48), (256, 256 * 160)])
def test_causal_attention_visits_whole_blocks_of_queries(seq: int, pairs: int):
    attention = Attention(heads=1, kv_heads=1, head_dim=8)
    assert attention_amounts(1, seq, attention)["cpu.softmax_elements_per_s"] == pairs


def test_seconds_are_amounts_times_constants():
    machine = calibrated_host()
    found = {**gemm_amounts(10, 100, 1000, bias=True), "cpu.launch_s": 1}
    assert seconds(found, machine) == pytest.approx(2e6 * 1e-11 + 1e5 * 2e-10 + 1e3 * 2e-10 + 5e-6)
    assert seconds_per("cpu.gemm_flops_per_s", 4.0) == 0.25
    assert seconds_per("cpu.launch_s", 4.0) == 4.0


def test_the_turnaround_follows_the_loss_unless_a_trip_of_updates_hides_it():
    after_loss = gap(case().cost.setting, Kind.LOSS)
    assert after_loss == {
        "cpu.turnaround_s": 1,
        "cpu.turnaround_operation_s": 16,
        "cpu.turnaround_lane_s": 2,
    }
    seldom = gap(case(Plan(write_back_every=2)).cost.setting, Kind.LOSS)
    assert seldom == {**after_loss, "cpu.turnaround_operation_s": 14.5}  # half of the offloads
    assert gap(case(Plan(policy=Policy.DUAL)).cost.setting, Kind.LOSS) == {"cpu.gap_s": 1}
    assert gap(case().cost.setting, Kind.FORWARD) == {"cpu.gap_s": 1}


def test_only_who_computes_is_woken_by_what_it_waits_for():
    """A copy starts when it is asked to; its own thread wakes up then, unless a limit hides it."""
    free = case()
    limited = replace(free, machine=cap_link(free.machine, 1e6))
    assert (gap(free.cost.setting, Kind.H2D), wake(Kind.H2D)) == ({}, {"cpu.wake_s": 1})
    assert wake(Kind.FORWARD) == {}
    assert woken(free.cost.setting, Kind.H2D) == {"cpu.copy_start_s": 1}
    assert woken(limited.cost.setting, Kind.D2H) == {}
    assert woken(free.cost.setting, Kind.FORWARD) == {}


@pytest.mark.parametrize(
    ("plan", "upload", "offload"),
    [
        (Plan(), "copy_start", "copy_start"),
        (Plan(num_slots=1), "wake", "copy_start"),
        (Plan(overlap=False), "wake", "wake"),
        (Plan(policy=Policy.NAIVE), "wake", "wake"),
        (Plan(policy=Policy.DUAL), "copy_start", "copy_start"),
        (Plan(policy=Policy.DUAL, num_slots=1), "copy_start", "copy_start"),
        (Plan(policy=Policy.HOST_UPDATE), "copy_start", "copy_start"),
        (Plan(policy=Policy.HOST_UPDATE, num_slots=1), "wake", "copy_start"),
        (Plan(policy=Policy.ZO2_REFERENCE), "copy_start", "copy_start"),
    ],
)
def test_a_copy_s_thread_wakes_up_beside_lanes_or_alone(plan: Plan, upload: str, offload: str):
    setting = case(plan).cost.setting
    assert woken(setting, Kind.H2D) == {f"cpu.{upload}_s": 1}
    assert woken(setting, Kind.D2H) == {f"cpu.{offload}_s": 1}


@pytest.mark.parametrize("way", [Kind.H2D, Kind.D2H])
def test_a_copy_begins_when_its_thread_is_awake(way: Kind):
    one, resource = case(), {Kind.H2D: Resource.LINK_H2D, Kind.D2H: Resource.LINK_D2H}[way]
    copied = over_link(one.cost.setting, 1, resource).fixed_s
    found = one.cost(Op(kind=way, stream=Stream(way.lower()), unit=0)).fixed_s
    assert found == pytest.approx(copied + one.machine.quantity("cpu.copy_start_s").value)


def test_the_first_operation_of_each_trip_pays_for_it_where_there_are_several():
    dual = case(Plan(policy=Policy.DUAL)).cost.setting
    for kind, lanes, records in ((Kind.FORWARD, "+-", 0), (Kind.UPDATE, "", 1)):
        head, block = (amounts(dual, kind, unit, lanes, records) or {} for unit in (HEAD, 0))
        assert head["cpu.trip_s"] == 1
        assert "cpu.trip_s" not in block
        assert "cpu.trip_s" not in (amounts(case().cost.setting, kind, HEAD, lanes, records) or {})


def test_what_waits_starts_a_gap_later_and_spans_hold_the_work_alone():
    one = case(Plan(policy=Policy.RESIDENT))
    trace = simulate(one.program, one.cost, one.cost.rates, periods=2)
    compute = [s for s in trace.spans if s.op.stream == "compute" and s.step == 1]
    gaps = [b.start_s - a.end_s for a, b in pairwise(compute)]
    assert gaps == pytest.approx([5e-5] * len(gaps))
    work = one.cost(compute[0].op)
    assert compute[0].duration_s == pytest.approx(work.fixed_s)


def test_the_walk_agrees_with_the_simulation():
    one = case()
    machine = one.machine
    exact = {k: 2.0 ** round(log2(q.value)) for k, q in machine.quantities.items() if q.value > 0.0}
    one = replace(one, machine=replace_all(machine, exact, source="powers of two: sums are exact"))
    assert predict(one).step_s == pytest.approx(predict(one).bound.step_s, rel=0.2)
    assert predict(one).step_s >= predict(one).bound.step_s


def test_another_dtype_is_not_priced_by_the_fp32_law():
    assert case(dtype=Dtype.BF16).cost.setting.cpu is None
    assert case().cost.setting.cpu is not None


def test_a_calibrated_machine_survives_its_file():
    machine = calibrated_host(1.5)
    assert load(dump(machine), where="m.toml") == machine


def test_a_file_without_cpu_has_none():
    assert named("this-host").cpu is None


def test_only_a_bias_opens_the_output():
    assert gemm_amounts(2, 3, 4, bias=True)["cpu.gemm_output_elements_per_s"] == 6
    assert gemm_amounts(2, 3, 4, bias=False)["cpu.gemm_output_elements_per_s"] == 0


def test_a_narrow_master_is_rounded_after_every_record():
    narrow = replace(case().recipe, storage_dtype=Dtype.BF16, wire_dtype=Dtype.BF16)
    setting = replace(case(Plan(write_back_every=3)), recipe=narrow).cost.setting
    one = amounts(setting, Kind.UPDATE, 0, "", 3)
    assert one is not None
    assert one["cpu.round_elements_per_s"] == 3 * OPT.blocks[0].elements
    wide = taken(Kind.UPDATE, 0, records=3)
    assert wide is not None
    assert "cpu.round_elements_per_s" not in wide


@pytest.mark.parametrize(
    ("plan", "forward", "update", "head", "tail"),
    [
        (Plan(), 1, 1, 0, 1),
        (Plan(num_slots=1), 1, 0, 0, 1),
        (Plan(write_back_every=2), 0.5, 1, 0, 1),
        (Plan(resident_blocks=1), 2 / 3, 2 / 3, 0, 2 / 3),
        (Plan(policy=Policy.RESIDENT), 0, 0, 0, 0),
        (Plan(policy=Policy.NAIVE), 0, 0, 0, 0),
        (Plan(policy=Policy.DUAL), 1, 1, 2, 1),
        (Plan(policy=Policy.DUAL, num_slots=1), 1, 1, 2, 1),
        (Plan(policy=Policy.DUAL, resident_blocks=1), 2 / 3, 2 / 3, 4 / 3, 2 / 3),
        (Plan(policy=Policy.HOST_UPDATE), 1, 1, 0, 1),
        (Plan(policy=Policy.ZO2_REFERENCE), 1, 1, 0, 1),
        (Plan(deferred_update=False), 1, 1, 0, 1),
        (Plan(overlap=False), 0, 0, 0, 0),
    ],
)
def test_copies_that_start_beside_an_operation_cost_it(
    plan: Plan, forward: float, update: float, head: float, tail: float
):
    def beside(kind: Kind, unit: int) -> float:
        one = amounts(case(plan).cost.setting, kind, unit, "+-", 1)
        assert one is not None
        return float(one.get("cpu.beside_s", 0.0))

    expected = {(Kind.FORWARD, 0): forward, (Kind.UPDATE, 0): update}
    expected |= {(Kind.FORWARD, HEAD): head, (Kind.FORWARD, TAIL): tail, (Kind.UPDATE, HEAD): 0}
    assert {key: beside(*key) for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize(("wire", "kind"), [(Dtype.BF16, "plain"), (Dtype.FP8, "scaled")])
def test_a_wire_that_recodes_is_encoded_once_and_decoded_for_every_sign(wire: Dtype, kind: str):
    recoded = replace(case().recipe, wire_dtype=wire)
    plan = Plan(policy=Policy.HOST_UPDATE, scratch_copies=2)
    setting = replace(case(plan), recipe=recoded).cost.setting
    elements = OPT.blocks[0].elements
    encoded, read = (
        amounts(setting, Kind.ENCODE, 0, "", 0),
        amounts(setting, Kind.FORWARD, 0, "+-", 0),
    )
    assert encoded is not None
    assert read is not None
    assert encoded[f"cpu.encode_{kind}_elements_per_s"] == elements
    assert read[f"cpu.decode_{kind}_elements_per_s"] == 2 * elements
    assert read["cpu.gaussian_perturb_elements_per_s"] == 2 * elements


@pytest.mark.parametrize(
    ("policy", "encoded"),
    [(Policy.RESIDENT, 2 * OPT.blocks[0].elements), (Policy.HOST_UPDATE, 0)],
)
def test_a_block_that_stays_goes_into_its_wire_format_and_out_of_it(policy: Policy, encoded: int):
    one = case(Plan(policy=policy))
    recoded = replace(one, recipe=replace(one.recipe, wire_dtype=Dtype.FP8))
    found = amounts(recoded.cost.setting, Kind.FORWARD, 0, "+-", 0)
    assert found is not None
    assert found["cpu.encode_scaled_elements_per_s"] == encoded
    assert found["cpu.decode_scaled_elements_per_s"] == 2 * OPT.blocks[0].elements
