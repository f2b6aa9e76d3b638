"""The memory account: items, sums, and what fits where."""

import re
from dataclasses import replace

import pytest

from tests.thorough import crossed
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named
from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import with_device_memory, with_host_memory
from zo2sim.memory.account import (
    SHARD_BYTES,
    DoesNotFit,
    Item,
    MemoryAccount,
    MemoryConstants,
    MemoryPlace,
    fit,
    fits,
    require,
)
from zo2sim.memory.published.accounts import mezo_account
from zo2sim.memory.runtime import AT_A_SNAPSHOT, account, slot_bytes
from zo2sim.memory.workspace import block_workspace_elements
from zo2sim.models.config import from_config
from zo2sim.models.presets import names, preset
from zo2sim.models.shapes import Attention, Model, Parameter, Unit
from zo2sim.plan.choices import Noise, Plan, Policy, Recipe

GIB = 1 << 30
NO_CONTEXT = 0


def _unit(name: str, *shapes: tuple[int, ...]) -> Unit:
    parameters = tuple(Parameter(name=f"{name}.{i}", shape=s) for i, s in enumerate(shapes))
    linear = tuple((s[0], s[1]) for s in shapes if len(s) == 2)
    return Unit(parameters=parameters, linear_shapes=linear)


TINY = Model(
    name="tiny",
    family="test",
    hidden=64,
    vocab=1000,
    max_positions=32,
    head=_unit("head", (1000, 64)),
    blocks=tuple(_unit(f"b{i}", (256, 64), (64, 256), (64,)) for i in range(4)),
    tail=_unit("tail", (64,), (1000, 64)),
)
SHORT = Recipe(sequence=32)
BLOCK_BYTES = 2 * (256 * 64 + 64 * 256) + 256


def device(plan: Plan, recipe: Recipe = SHORT, model: Model = TINY) -> dict[str, int]:
    return account(model, plan, recipe, context_bytes=NO_CONTEXT).itemised(MemoryPlace.DEVICE)


def host(plan: Plan, recipe: Recipe = SHORT) -> dict[str, int]:
    return account(TINY, plan, recipe, context_bytes=NO_CONTEXT).itemised(MemoryPlace.HOST)


def test_every_tensor_starts_at_a_multiple_of_256_bytes():
    assert _unit("u", (1,), (129,)).buffer_bytes(Dtype.FP16) == 256 + 512


def test_a_scaled_format_brings_a_scale_per_row():
    assert _unit("u", (64, 64)).buffer_bytes(Dtype.FP8) == 64 * 64 + 64 * 4


def test_every_device_item_of_a_tiny_model():
    assert device(Plan(num_slots=3)) == {
        "resident units": 128_000 + 256 + 128_000,
        "slots": 3 * BLOCK_BYTES,
        "scratch": 128_000 + 256,
        "hidden states": 2 * 32 * 64 * 2,
        "workspace of one lane": 32 * (1000 * (2 + 8) + 64 * 2),
        "tokens and labels": 32 * 16,
        "journal records": 64,
        "noise table": 65536 * 4,
        "cuBLAS workspace": 32 << 20,
        "reserved by the allocator, not in use": 8 * (2 << 20) - 1_176_896,  # 8 small items
    }


@pytest.mark.parametrize(("noise", "nbytes"), [("gaussian", 4 * 2**16), ("rademacher", 0)])
def test_only_the_gaussian_has_a_table(noise: Noise, nbytes: int):
    found = account(TINY, Plan(), Recipe(noise=noise)).items
    assert sum(item.num_bytes for item in found if item.name == "noise table") == nbytes


def test_slots_are_no_more_than_streamed_blocks():
    plan = Plan(num_slots=3, resident_blocks=2)
    assert device(plan)["slots"] == 2 * BLOCK_BYTES
    assert device(plan)["resident blocks"] == 2 * BLOCK_BYTES
    assert "slots" not in device(Plan(policy=Policy.RESIDENT))


def test_a_second_scratch_copy_doubles_it_and_in_place_has_none():
    one, two = device(Plan())["scratch"], device(Plan(scratch_copies=2))["scratch"]
    assert two == 2 * one
    assert "scratch" not in device(Plan(), replace(SHORT, perturbation="in_place"))


def test_scratch_is_in_the_compute_dtype_and_residents_in_the_storage_dtype():
    wide = device(Plan(), replace(SHORT, compute_dtype=Dtype.FP32))
    assert wide["scratch"] == 2 * 128_000 + 256
    assert wide["resident units"] == device(Plan())["resident units"]


def test_lora_perturbs_the_adapters_only():
    lora = device(Plan(), replace(SHORT, trainable="lora:8"))
    adapters = 8 * (256 + 64) * 2 * 2
    assert lora["scratch"] == adapters
    assert lora["LoRA adapters"] == 4 * adapters


def test_lora_in_another_format_decodes_the_largest_unit_beside_its_adapters():
    """Once, whatever the number of copies of the adapters, which are kept in storage too."""
    wide = replace(SHORT, trainable="lora:8", compute_dtype=Dtype.FP32)
    adapters = 8 * (256 + 64) * 2
    head, tail = 4 * 1000 * 64, 256 + 4 * 1000 * 64
    for copies in (1, 2):
        found = device(Plan(scratch_copies=copies), wide)
        assert found["scratch"] == copies * 4 * adapters + max(head, tail)
        assert found["LoRA adapters"] == 4 * 2 * adapters


def test_the_workspace_is_the_larger_one_of_a_block_and_the_tail():
    for vocab, place, elements in (
        (1000, "the tail: logits", 1000 * (2 + 8) + 64 * 2),
        (70, "a block: attention or MLP", (3 * 64 + 2 * 256) * 2),
    ):
        model = replace(TINY, vocab=vocab)
        found = account(model, Plan(), SHORT, context_bytes=NO_CONTEXT).items
        (item,) = (i for i in found if i.name == "workspace of one lane")
        assert (item.num_bytes, item.cause.partition(",")[0]) == (32 * elements, place)
    fp32 = replace(SHORT, compute_dtype=Dtype.FP32)
    assert device(Plan(), fp32)["workspace of one lane"] == 32 * (1000 * (4 + 4) + 64 * 4)


def test_every_lane_has_a_hidden_state_and_one_lane_a_workspace():
    many = device(Plan(), replace(SHORT, samples=2, microbatches=3))
    assert many["hidden states"] == 6 * device(Plan())["hidden states"]
    assert many["workspace of one lane"] == device(Plan())["workspace of one lane"]


def test_a_narrow_wire_makes_narrow_slots_and_staging():
    recipe = replace(SHORT, wire_dtype=Dtype.FP8)
    plan = Plan(policy=Policy.HOST_UPDATE)
    assert device(plan, recipe)["slots"] == 2 * TINY.blocks[0].buffer_bytes(Dtype.FP8)
    assert host(plan, recipe)["wire staging"] > 0
    assert "wire staging" not in host(plan)


def test_host_weights_by_pinning():
    assert host(Plan(pinning="exact"))["streamed blocks, exact"] == 4 * 69_632
    rounded = host(Plan(pinning="rounded"))["streamed blocks, rounded"]
    assert rounded == 4 * (2 * 32_768 + 128)


def test_nvme_holds_two_versions_and_the_host_only_stages():
    found = account(TINY, Plan(tier="nvme"), SHORT)
    assert found.nvme_bytes == 2 * 4 * BLOCK_BYTES
    assert found.itemised(MemoryPlace.HOST)["NVMe staging"] == 2 * 2 * 69_632
    assert "streamed blocks, exact" not in found.itemised(MemoryPlace.HOST)


def test_a_snapshot_takes_a_file_or_the_largest_tensor_beside_the_rest():
    assert host(Plan())[AT_A_SNAPSHOT] == 2 * TINY.elements  # one file holds all
    opt, recipe = preset("opt-13b"), replace(SHORT, storage_dtype=Dtype.FP32)
    for tier in ("ram", "nvme"):
        items = account(opt, Plan(tier=tier), recipe).itemised(MemoryPlace.HOST)
        assert items[AT_A_SNAPSHOT] == 4 * 50272 * 5120
    items = account(opt, Plan(), replace(SHORT, storage_dtype=Dtype.FP8)).itemised(MemoryPlace.HOST)
    assert items[AT_A_SNAPSHOT] == SHARD_BYTES


def test_the_snapshot_is_on_disk():
    assert account(TINY, Plan(), SHORT).disk_bytes == 2 * TINY.elements


def test_a_fused_attention_needs_no_scores_and_a_gate_needs_one_more_width():
    attention = Attention(heads=8, kv_heads=2, head_dim=64)
    plain = Unit(parameters=(), attentions=(attention,), linear_shapes=((128, 64), (64, 128)))
    gated = replace(plain, linear_shapes=((128, 64), (128, 64), (64, 128)))
    assert block_workspace_elements(plain, 64) == 2 * 8 * 64 + 2 * 2 * 64 + 64
    small = replace(attention, heads=1, kv_heads=1)
    assert block_workspace_elements(replace(plain, attentions=(small,)), 64) == 3 * 64 + 2 * 128
    assert block_workspace_elements(replace(gated, attentions=(small,)), 64) == 3 * 64 + 3 * 128


MEASURED = {
    (256, 896, 8): {1: 4506, 2: 8364, 4: 16080, 8: 31512},
    (256, 128, 8): {1: 2462, 2: 3764, 8: 13112},
    (128, 896, 16): {1: 4066, 2: 7796, 8: 30176},
    (512, 256, 32): {1: 4918, 2: 7500, 8: 26064},
}
"""Elements per token at the peak of a MixtralDecoderLayer in bf16, with grouped products,
by hidden size, width and number of experts, and by experts per token; traced allocations."""


@pytest.mark.parametrize("shape", MEASURED, ids=str)
def test_a_mixture_takes_room_for_every_expert_of_a_token(shape: tuple[int, int, int]):
    hidden, ffn, experts = shape
    for chosen, elements in MEASURED[shape].items():
        config = {
            **{"model_type": "mixtral", "vocab_size": 64, "num_hidden_layers": 1},
            **{"hidden_size": hidden, "intermediate_size": ffn, "num_attention_heads": 4},
            **{"num_key_value_heads": 1, "num_local_experts": experts},
            "num_experts_per_tok": chosen,
        }
        (block,) = from_config(config, name="moe").blocks
        found = block_workspace_elements(block, hidden)
        assert elements <= found <= 1.12 * elements, (chosen, found)


@pytest.mark.parametrize(("ffn", "experts"), [(128, 2), (8, 4)], ids=["wide", "narrow"])
def test_a_token_s_rows_in_a_mixture_by_hand(ffn: int, experts: int):
    """Two experts a token: a wide one's rows take most inside, a narrow one's as they come out."""
    config = {
        **{"model_type": "mixtral", "vocab_size": 64, "num_hidden_layers": 1, "hidden_size": 64},
        **{"intermediate_size": ffn, "num_attention_heads": 4, "num_key_value_heads": 1},
        **{"num_local_experts": experts, "num_experts_per_tok": 2},
    }
    (block,) = from_config(config, name="moe").blocks
    rows = max(2 * (4 * ffn + 64 + 20), 2 * (6 * 64 + 20) + 64)
    assert block_workspace_elements(block, 64) == 3 * 64 + experts + rows


@pytest.mark.parametrize("tied", [True, False])
def test_opt_175b_fits_18_gb(tied: bool):
    found = account(preset("opt-175b", tied=tied), Plan(), Recipe())
    assert 14e9 < found.device_bytes < 18e9


def test_opt_175b_pinned_by_matrix_and_exactly():
    model = preset("opt-175b", tied=False)
    by_matrix = account(model, Plan(pinning="rounded"), Recipe()).itemised(MemoryPlace.HOST)
    exact = account(model, Plan(pinning="exact"), Recipe()).itemised(MemoryPlace.HOST)
    assert round(by_matrix["streamed blocks, rounded"] / GIB) == 576
    assert round(exact["streamed blocks, exact"] / GIB) == 324


def test_the_published_code_pins_by_matrix():
    plan = Plan(policy=Policy.ZO2_REFERENCE)
    found = account(preset("opt-175b", tied=False), plan, Recipe())
    assert round(found.itemised(MemoryPlace.HOST)["streamed blocks, rounded"] / GIB) == 576


def test_allocated_leaves_out_context_and_slack():
    found = account(TINY, Plan(), SHORT, context_bytes=1000)
    assert found.device_bytes == account(TINY, Plan(), SHORT, context_bytes=0).device_bytes + 1000
    slack = found.itemised(MemoryPlace.DEVICE)["reserved by the allocator, not in use"]
    assert found.device_allocated_bytes == found.device_nvml_bytes - 1000 - slack


def test_in_place_resident_is_the_published_mezo_code():
    model, recipe = preset("opt-1.3b"), Recipe(perturbation="in_place")
    found = account(model, Plan(policy=Policy.RESIDENT), recipe)
    assert found == mezo_account(model, recipe)


def test_the_peak_of_the_reference_is_attention_when_small_and_the_update_when_large():
    plan = Plan(policy=Policy.ZO2_REFERENCE)
    small = account(preset("opt-1.3b", tied=False), plan, Recipe()).itemised(MemoryPlace.DEVICE)
    large = account(preset("opt-175b", tied=False), plan, Recipe()).itemised(MemoryPlace.DEVICE)
    assert small["attention scores"] == 8 * 32 * 2048**2
    assert "attention scores" not in large
    assert large["temporaries of perturbation and update"] == 3 * 4 * 12288**2 * 2


@pytest.mark.parametrize(("name", "policy"), crossed([*names()], tuple(Policy)))
def test_every_preset_has_an_account(name: str, policy: Policy):
    found = account(preset(name), Plan(policy=policy), Recipe(sequence=256))
    weights = found.itemised(MemoryPlace.DEVICE)["resident units"]
    assert 0 < weights < found.device_allocated_bytes <= found.device_bytes


def machine(device_gib: float, host_gib: float, *, nvme: bool) -> Machine:
    box = named("rtx-4090-24gb")
    box = with_device_memory(with_host_memory(box, host_gib * GIB), device_gib * GIB)
    return replace(box, name="box", nvme=box.nvme if nvme else None)


def _items(**gib: int) -> MemoryAccount:
    return MemoryAccount(
        title="m",
        items=tuple(
            Item(
                place=MemoryPlace(place), name=f"the {place} part", num_bytes=n * GIB, cause="test"
            )
            for place, n in gib.items()
        ),
    )


def test_what_fits_says_so():
    found = fit(_items(device=14), MemoryPlace.DEVICE, 18 * GIB)
    assert (found.fits, found.missing_bytes) == (True, 0)
    assert found.sentence == "device: needs 14.0 GiB of 18.0 GiB, fits"


def test_what_does_not_fit_says_how_much_is_missing_and_why():
    found = fit(_items(device=20), MemoryPlace.DEVICE, 18 * GIB)
    assert not found.fits
    assert found.sentence == (
        "device: needs 20.0 GiB of 18.0 GiB, 2.0 GiB missing; the largest part: the device part"
    )


def test_a_machine_without_nvme_has_none():
    places = [(f.place, f.fits) for f in fits(_items(device=1, nvme=1), machine(2, 2, nvme=False))]
    assert places == [
        (MemoryPlace.DEVICE, True),
        (MemoryPlace.HOST, True),
        (MemoryPlace.NVME, False),
    ]
    assert all(f.fits for f in fits(_items(device=1, nvme=1), machine(2, 2, nvme=True)))


def test_require_names_every_place_that_is_too_small():
    two = {MemoryPlace.DEVICE: 2 * GIB, MemoryPlace.HOST: 2 * GIB}
    require(_items(device=2, host=2), two)
    message = r"m needs 3\.00 GiB on the device, .* 1\.00 GiB are missing; .*; needs .* on the host"
    with pytest.raises(DoesNotFit, match=message):
        require(_items(device=3, host=3), two)
    require(_items(device=3, host=3), {MemoryPlace.NVME: 0})


def test_a_refusal_lists_the_largest_parts_first():
    parts = {"a": 1, "b": 4 << 10, "c": 3 << 20, "d": 2 << 30}
    items = tuple(
        Item(place=MemoryPlace.HOST, name=n, num_bytes=b, cause="") for n, b in parts.items()
    )
    account = MemoryAccount(title="m", items=items)
    largest = re.escape("mostly for d (2.00 GiB), c (3.0 MiB), b (4.0 KiB), and 7 B are free")
    with pytest.raises(DoesNotFit, match=largest):
        require(account, {MemoryPlace.HOST: 7})


def test_where_the_device_is_the_host_everything_is_on_the_host():
    found = _items(device=2, host=3, nvme=4).on_one_memory
    assert (found.device_bytes, found.host_bytes, found.nvme_bytes) == (0, 5 * GIB, 4 * GIB)
    assert found.without(["the device part"]).host_bytes == 3 * GIB


def test_amounts_are_not_negative():
    with pytest.raises(ValueError, match="must be >= 0; got -1"):
        Item(place=MemoryPlace.HOST, name="x", num_bytes=-1, cause="")
    with pytest.raises(ValueError, match="must be >= 0; got -1"):
        fit(_items(host=1), MemoryPlace.HOST, -1)


@pytest.mark.parametrize("field", ["context_bytes", "process_bytes"])
def test_constants_may_be_nothing_and_not_less(field: str):
    nothing = {"context_bytes": 0, "process_bytes": 0}
    assert MemoryConstants(**nothing).process_bytes == 0
    with pytest.raises(ValueError, match="context_bytes and process_bytes must be >= 0; got"):
        MemoryConstants(**nothing | {field: -1})


def test_lines_that_wait_for_their_fsync_have_a_mebibyte():
    assert account(TINY, Plan(), Recipe()).itemised(MemoryPlace.HOST)["journal buffer"] == 1 << 20


def test_where_nothing_streams_a_slot_has_no_bytes():
    assert slot_bytes(TINY, Plan(policy=Policy.RESIDENT), Recipe()) == 0
