"""What operations take on a device, added up by hand: every term that a docstring names, once."""

from dataclasses import replace
from typing import Any

import pytest

from tests.zo2sim.cost.test_cost import A100, MOE, SMALL, op
from zo2sim.cost import CostModel
from zo2sim.cost.forward import eager_s, forward, issued_s, lane_s, loss, moving_s
from zo2sim.cost.passes import build_s, decode_s, host_update, update
from zo2sim.cost.setting import Setting
from zo2sim.cost.transfer import disk, encode, rates
from zo2sim.dtypes import Dtype
from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import replace_all
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.schedule.ops import HEAD, TAIL, Kind
from zo2sim.simulate.work import Resource

BLOCK = SMALL.blocks[0]
DEVICE, LINK, HOST = A100.device, A100.link, A100.host
ROOM = DEVICE.pass_bytes_per_s
AT_ONCE = replace_all(A100, {"device.launch_s": 1e-9, "host.stream_handover_s": 1e-8})
"""Whose kernels wait for no launch."""
SHAPE: dict[str, Any] = {"batch": 3, "sequence": 64}
TOKENS = 3 * 64


def of(
    plan: Plan | None = None, machine: Machine = A100, model: Model = SMALL, **recipe: Any
) -> Setting:
    how = Recipe(**(SHAPE | recipe))
    return CostModel.of(model, machine, plan or Plan(), how).setting


# Lanes


def test_a_lane_takes_its_products_its_attention_and_what_it_moves():
    setting = of(machine=AT_ONCE)
    kernels, (attention,) = setting.kernels, BLOCK.attentions
    products = sum(g.count * kernels.gemm_s(TOKENS, g.n, g.k) for g in BLOCK.gemms)
    about = (attention.heads, attention.kv_heads, attention.head_dim)
    fused = kernels.attention_s(3, 64, *about, causal=True, window=None)
    moved = 2 * BLOCK.moved(3, 64) / ROOM
    assert lane_s(setting, 0) == pytest.approx(products + fused + moved)


def test_eager_attention_takes_two_products_and_moves_every_score():
    setting, (attention,) = of(machine=AT_ONCE), BLOCK.attentions
    rows, gemm_s = 3 * attention.heads * 64, setting.kernels.gemm_s
    scores, result = eager_s(setting, BLOCK)
    assert scores == gemm_s(rows, 64, attention.head_dim)
    assert result == gemm_s(rows, attention.head_dim, 64)
    moved = moving_s(setting, 0, eager=True) - moving_s(setting, 0, eager=False)
    assert moved == pytest.approx(24 * rows * 64 / ROOM)


def test_an_adapter_takes_two_products_and_a_sum():
    plain, adapted = (of(machine=AT_ONCE, trainable=t) for t in ("all", "lora:8"))
    gemm_s = plain.kernels.gemm_s
    own = sum(gemm_s(TOKENS, 8, i) + gemm_s(TOKENS, o, 8) for o, i in BLOCK.linear_shapes)
    summed = 3 * TOKENS * sum(out for out, _ in BLOCK.linear_shapes) * 2 / ROOM
    assert lane_s(adapted, 0) - lane_s(plain, 0) == pytest.approx(own + summed)


def test_the_interpreter_launches_every_kernel_and_hands_over():
    launch_s, handover_s = DEVICE.launch_s.value, HOST.stream_handover_s.value
    assert issued_s(of(), 0) == pytest.approx(BLOCK.kernels * launch_s + handover_s)
    adapted = BLOCK.kernels + 3 * len(BLOCK.linear_shapes)
    assert issued_s(of(trainable="lora:8"), 0) == pytest.approx(adapted * launch_s + handover_s)
    mezo = of(Plan(policy=Policy.RESIDENT), noise="torch", perturbation="in_place")
    assert issued_s(mezo, 0) == pytest.approx(BLOCK.kernels * launch_s)


@pytest.mark.parametrize(("lanes", "runs"), [("+-", 2 * 5 * 4), ("+", 5 * 4), ("0", 5)])
def test_a_forward_is_its_lanes_and_what_they_run_with(lanes: str, runs: int):
    setting = of(microbatches=5, samples=4)
    built = 0.0 if lanes == "0" else build_s(setting, 0, lanes)
    found = forward(setting, 0, lanes).amounts
    assert found == {Resource.COMPUTE: pytest.approx(runs * lane_s(setting, 0) + built)}
    held = forward(setting, 0, lanes, finds=True).amounts[Resource.COMPUTE]
    assert held == pytest.approx(runs * lane_s(setting, 0)), "it was built ahead"


def test_an_evaluation_decodes_what_is_held_in_another_format():
    setting = of(Plan(policy=Policy.HOST_UPDATE), trainable="lora:8", wire_dtype=Dtype.FP8)
    decoded = decode_s(setting, 0)
    assert decoded > 0.0
    found = forward(setting, 0, "0").amounts[Resource.COMPUTE]
    assert found == pytest.approx(lane_s(setting, 0) + decoded)


def test_the_loss_crosses_the_link_and_wakes_the_host():
    waits = (LINK.latency_s, DEVICE.launch_s, HOST.stream_handover_s)
    assert loss(of()).fixed_s == sum(one.value for one in waits)


@pytest.mark.parametrize("tokens", [1, 40])
def test_an_expert_has_at_least_one_row(tokens: int):
    setting = of(model=MOE, batch=1, sequence=tokens)
    expert = next(g for g in MOE.blocks[0].gemms if g.rows_per_token < 1.0)
    assert setting.gemm_rows(expert) == max(1.0, tokens / 4)


# Passes


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("noise", ["gaussian", "rademacher"])
def test_a_build_reads_theta_and_writes_w(copies: int, noise: str):
    setting = of(Plan(scratch_copies=copies), noise=noise, samples=3)
    elements, drawn = BLOCK.elements, DEVICE.noise_elements_per_s(setting.recipe.noise).value
    moved = (2 + 2 + 2 if copies == 2 else 2 + 2) * elements / ROOM
    passes = 1 if copies == 2 else 2
    assert build_s(setting, 0, "+-") == pytest.approx(3 * passes * max(moved, elements / drawn))


def test_a_block_that_stays_goes_through_the_codec_in_the_pass_that_builds():
    """It reads theta, writes and reads what a wire would carry, and writes W."""
    fast = replace_all(A100, {"device.rademacher_noise_elements_per_s": 1e15})
    stays = {"noise": "rademacher", "wire_dtype": Dtype.FP8, "machine": fast}
    setting = of(Plan(policy=Policy.RESIDENT), **stays)
    moved = {0: 1 + 2 + 1 + 2, HEAD: 2 + 2}
    for unit, nbytes in moved.items():
        elements = setting.perturbed(unit)
        assert build_s(setting, unit, "+") == pytest.approx(nbytes * elements / ROOM)


def test_adapters_are_built_beside_what_is_decoded():
    setting = of(Plan(policy=Policy.HOST_UPDATE), trainable="lora:8", wire_dtype=Dtype.FP8)
    adapters = sum(BLOCK.beside(8, Dtype.FP16))
    one = max(adapters * (1 + 2) / ROOM, adapters / DEVICE.noise_elements_per_s("gaussian").value)
    one = max(one, DEVICE.launch_s.value)
    decoded = (1 + 2) * BLOCK.elements / ROOM
    assert decode_s(setting, 0) == pytest.approx(decoded)
    assert decode_s(setting, TAIL) == 0.0, "in the compute dtype already"
    slow = of(machine=replace_all(A100, {"device.launch_s": 0.1}), wire_dtype=Dtype.FP8)
    assert decode_s(slow, 0) == 0.1, "one kernel"
    assert build_s(setting, 0, "+-") == pytest.approx(2 * one + decoded)


def test_integers_are_decoded_tensor_by_tensor():
    four = {"storage_dtype": Dtype.INT4, "wire_dtype": Dtype.INT4, "trainable": "lora:8"}
    setting = of(machine=AT_ONCE, **four)
    taken = BLOCK.decoded(Dtype.INT4)
    read = sum(p.format(Dtype.INT4, Dtype.FP16).num_bytes(p.shape) for p in taken.parameters)
    moved = (read + 2 * taken.elements) / ROOM
    assert decode_s(setting, 0) == pytest.approx(moved)
    slow = of(machine=replace_all(A100, {"device.launch_s": 0.1}), **four)
    assert decode_s(slow, 0) == pytest.approx(0.1 * len(taken.parameters))


@pytest.mark.parametrize("slow", [False, True], ids=["moving", "launching"])
def test_noise_by_tensors_takes_eight_kernels_worth_to_build_and_thirteen_to_update(slow: bool):
    numbers = {"device.torch_noise_elements_per_s": 1e15, "device.launch_s": 0.1 if slow else 1e-9}
    setting = of(machine=replace_all(A100, numbers), noise="torch", samples=3)
    moved, tensors = 2 * BLOCK.elements / ROOM, len(BLOCK.parameters)
    each, whole = (0.4 * tensors, 0.6 * tensors) if slow else (8 * moved, 3 * 13 * moved)
    assert build_s(setting, 0, "+") == pytest.approx(3 * each)
    assert update(setting, 0, 2).amounts == {Resource.COMPUTE: pytest.approx(whole)}


def test_an_update_draws_a_tensor_s_noise_for_every_record_and_sample():
    setting = of(
        machine=replace_all(A100, {"device.torch_noise_elements_per_s": 1e5}), noise="torch"
    )
    setting = replace(setting, load=replace(setting.load, samples=3))
    wanted = 2 * 3 * BLOCK.elements / 1e5
    assert update(setting, 0, 2).amounts == {Resource.COMPUTE: pytest.approx(wanted)}


def test_the_host_updates_what_it_holds_with_all_of_its_cores():
    setting = of(Plan(policy=Policy.HOST_UPDATE), samples=3)
    rate = HOST.update_elements_per_s("gaussian").value
    assert host_update(setting, 0, 2).amounts == {
        Resource.CPU: pytest.approx(2 * 3 * BLOCK.elements / rate),
        Resource.DRAM: 2 * BLOCK.buffer_bytes(Dtype.FP16),
    }


# Copies


def test_a_narrow_wire_is_encoded_from_the_master_s_bytes():
    setting = of(Plan(policy=Policy.HOST_UPDATE), wire_dtype=Dtype.FP8)
    wide, narrow = (BLOCK.buffer_bytes(dtype) for dtype in (Dtype.FP16, Dtype.FP8))
    assert encode(setting, 0).amounts == {
        Resource.CPU: wide / HOST.encode_bytes_per_s.value,
        Resource.DRAM: wide + narrow,
    }


@pytest.mark.parametrize("way", [Resource.NVME_READ, Resource.NVME_WRITE])
def test_a_block_passes_the_drive_and_the_host_s_memory_once(way: Resource):
    assert A100.nvme is not None
    work, nbytes = disk(of(Plan(tier="nvme")), 0, way), BLOCK.buffer_bytes(Dtype.FP16)
    assert work.fixed_s == A100.nvme.latency_s.value
    assert work.amounts == {way: nbytes, Resource.DRAM: nbytes}


def test_what_a_machine_offers_is_what_its_file_says():
    assert A100.nvme is not None
    found = rates(of(Plan(tier="nvme")))
    assert (found.link_h2d, found.link_d2h) == (
        LINK.h2d_bytes_per_s.value,
        LINK.d2h_bytes_per_s.value,
    )
    assert (found.both_h2d, found.both_d2h) == (
        LINK.both_h2d_bytes_per_s.value,
        LINK.both_d2h_bytes_per_s.value,
    )
    assert (found.dram, found.cpu) == (HOST.dram_bytes_per_s.value, HOST.num_cores.value)
    assert (found.nvme_read, found.nvme_write) == (
        A100.nvme.read_bytes_per_s.value,
        A100.nvme.write_bytes_per_s.value,
    )


def test_memory_that_is_not_page_locked_has_rates_of_its_own_in_every_state():
    slow = {"link.pageable_h2d_bytes_per_s": 3e9, "link.pageable_d2h_bytes_per_s": 2e9}
    found = rates(of(Plan(pinning="pageable"), machine=replace_all(A100, slow)))
    assert (found.link_h2d, found.link_d2h, found.both_h2d, found.both_d2h) == (3e9, 2e9, 3e9, 2e9)
    busy = {"link.both_h2d_bytes_per_s": 2.5e9, "link.both_d2h_bytes_per_s": 1e9}
    found = rates(of(Plan(pinning="pageable"), machine=replace_all(A100, slow | busy)))
    assert (found.link_h2d, found.link_d2h, found.both_h2d, found.both_d2h) == (
        3e9,
        2e9,
        2.5e9,
        1e9,
    )


def test_a_machine_that_does_not_know_staged_copies_refuses_them():
    link = replace(LINK, staged_h2d_bytes_per_s=None)
    with pytest.raises(ValueError, match=r"pinning=staged needs link\.staged_h2d_bytes_per_s"):
        rates(of(Plan(pinning="staged"), machine=replace(A100, link=link)))


def test_the_journal_waits_for_the_drive_and_an_allocation_for_the_device():
    model = CostModel.of(SMALL, A100, Plan(), Recipe())
    assert model(op(Kind.JOURNAL)).fixed_s == HOST.fsync_s.value
    assert model(op(Kind.ALLOC)).fixed_s == DEVICE.alloc_s.value
