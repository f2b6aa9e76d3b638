"""Four and eight bits: which weights of a block are encoded, and every byte that they take."""

from dataclasses import replace

import pytest

from zo2sim.cost import CostModel
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named
from zo2sim.memory.account import MemoryPlace
from zo2sim.memory.runtime import AT_A_SNAPSHOT, account
from zo2sim.models.presets import preset
from zo2sim.models.shapes import Parameter, Unit, is_linear
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict
from zo2sim.schedule.ops import HEAD, Kind, Op, Stream
from zo2sim.simulate.work import Resource

GIB = 1 << 30
FOUR_BITS = Recipe(trainable="lora:16", storage_dtype=Dtype.INT4)


@pytest.mark.parametrize(
    ("name", "shape", "encoded"),
    [
        ("model.layers.0.self_attn.q_proj.weight", (64, 64), True),
        ("base_model.model.layers.0.fc1.base_layer.weight", (256, 64), True),
        ("transformer.h.0.attn.c_attn.weight", (64, 192), True),
        ("model.layers.0.mlp.experts.gate_up_proj", (8, 128, 64), True),
        ("model.layers.0.mlp.gate.weight", (8, 64), False),
        ("model.layers.0.mlp.gate.base_layer.weight", (8, 64), False),
        ("model.layers.0.mlp.router.weight", (8, 64), False),
        ("model.layers.0.mlp.experts.gate_up_proj_bias", (8, 128), False),
        ("model.layers.0.self_attn.q_proj.bias", (64,), False),
        ("model.layers.0.input_layernorm.weight", (64,), False),
        ("block.0.layer.0.SelfAttention.relative_attention_bias.weight", (32, 8), False),
        ("layers.0.mixer.A_log", (128, 16), False),
        ("layers.0.mixer.conv1d.weight", (128, 1, 4), False),
        ("rwkv.blocks.0.attention.time_mix_key", (1, 1, 64), False),
    ],
)
def test_the_weights_of_linear_layers_are_encoded(name: str, shape: tuple[int, ...], encoded: bool):
    assert is_linear(name, shape) is encoded


def test_a_matrix_has_its_codes_its_zero_points_and_its_scales():
    block = Unit(parameters=(Parameter(name="0.fc.weight", shape=(100, 300)),))
    rows_of_3_groups = {
        Dtype.INT8: 100 * 300 + 100 * 2,
        Dtype.INT4: 100 * 150 + 100 * 3 * 2,
        Dtype.INT4_ASYM: 100 * 150 + 100 * 3 * (2 + 1),
    }
    for dtype, nbytes in rows_of_3_groups.items():
        assert block.buffer_bytes(dtype, Dtype.FP16) == -(-nbytes // 256) * 256
    odd = Parameter(name="0.fc.weight", shape=(10, 7)).format(Dtype.INT4, Dtype.FP32)
    assert odd.num_bytes((10, 7)) == 10 * 4 + 10 * 4


def test_what_is_no_matrix_has_the_compute_dtype():
    norm = Unit(parameters=(Parameter(name="0.norm.weight", shape=(300,)),))
    assert norm.buffer_bytes(Dtype.INT4, Dtype.BF16) == 768
    model, plan = preset("opt-125m"), Plan()
    found = account(model, plan, FOUR_BITS).itemised(MemoryPlace.DEVICE)
    half = account(model, plan, Recipe(trainable="lora:16")).itemised(MemoryPlace.DEVICE)
    assert found["resident units"] == half["resident units"]
    assert found["LoRA adapters"] == half["LoRA adapters"]
    linear = sum(out * inp for out, inp in model.blocks[0].linear_shapes)
    assert found["scratch"] == half["scratch"] + 2 * linear


def test_bits_per_weight():
    """4 bits and 16 per 128 weights: 4.125; with a byte for the zero point 4.1875."""
    block = preset("llama-3-70b").blocks[0]
    for dtype, bits in ((Dtype.INT8, 8.0), (Dtype.INT4, 4.125), (Dtype.INT4_ASYM, 4.1875)):
        found = 8 * block.buffer_bytes(dtype, Dtype.FP16) / block.elements
        assert found == pytest.approx(bits, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "blocks_bytes", "host_gib"),
    [("opt-175b", 83.56 * GIB, 87.5), ("llama-3-70b", 35.3e9, 36.9)],
)
def test_large_models_take_a_quarter_of_the_host(name: str, blocks_bytes: float, host_gib: float):
    found = account(preset(name), Plan(), FOUR_BITS)
    items = found.itemised(MemoryPlace.HOST)
    assert items["streamed blocks, exact"] == pytest.approx(blocks_bytes, rel=2e-3)
    assert found.host_bytes / GIB == pytest.approx(host_gib, rel=5e-3)
    assert items[AT_A_SNAPSHOT] <= 1 << 28, "the base is not written"
    assert found.disk_bytes == 2 * sum(sum(b.beside(16, Dtype.INT4)) for b in preset(name).blocks)


def test_the_link_carries_the_codes_and_a_forward_decodes_them():
    model, machine = preset("opt-13b"), named("rtx-4090-24gb")
    dense = CostModel.of(model, machine, Plan(), Recipe(trainable="lora:16"))
    cost = CostModel.of(model, machine, Plan(), FOUR_BITS)
    upload = Op(kind=Kind.H2D, stream=Stream.H2D, unit=0)
    nbytes = model.blocks[0].buffer_bytes(Dtype.INT4, Dtype.FP16)
    assert cost(upload).amounts[Resource.LINK_H2D] == nbytes
    forward = Op(kind=Kind.FORWARD, stream=Stream.COMPUTE, unit=0, lanes="+-")
    more_s = cost(forward).amounts[Resource.COMPUTE] - dense(forward).amounts[Resource.COMPUTE]
    linear = sum(out * inp for out, inp in model.blocks[0].linear_shapes)
    moved = linear * (4.125 / 8 + 2)
    assert float(more_s) == pytest.approx(moved / machine.device.pass_bytes_per_s, rel=1e-6)
    head = Op(kind=Kind.FORWARD, stream=Stream.COMPUTE, unit=HEAD, lanes="+-")
    assert cost(head).amounts == dense(head).amounts


def test_where_the_link_binds_a_step_takes_a_third():
    """Few tokens, so that uploads are the step: 16 bits against 4.125."""
    case = Case(
        model=preset("opt-13b"),
        machine=named("rtx-4090-24gb"),
        plan=Plan(),
        recipe=Recipe(trainable="lora:16", sequence=64),
    )
    four_bits = replace(case, recipe=replace(case.recipe, storage_dtype=Dtype.INT4))
    ratio = predict(four_bits).step_s / predict(case).step_s
    assert 0.25 < ratio < 0.4


def test_scales_that_train_stay_on_the_device_and_are_decoded_for_every_sign():
    """A 128th of the weights, in the compute dtype, and nothing comes back over the link."""
    model, machine = preset("opt-13b"), named("rtx-4090-24gb")
    recipe = Recipe(trainable="scales", storage_dtype=Dtype.INT4)
    linear = sum(out * inp for block in model.blocks for out, inp in block.linear_shapes)
    found = account(model, Plan(), recipe)
    items = found.itemised(MemoryPlace.DEVICE)
    assert items["trained scales"] == 2 * linear // 128
    lora = account(model, Plan(), replace(recipe, trainable="lora:16"))
    assert items["slots"] == lora.itemised(MemoryPlace.DEVICE)["slots"]
    assert found.disk_bytes == 2 * linear // 128, "a snapshot is of what trains"
    two = account(model, Plan(scratch_copies=2), recipe).itemised(MemoryPlace.DEVICE)
    assert two["scratch"] - items["scratch"] == 2 * linear // 128 // model.num_blocks
    cost = CostModel.of(model, machine, Plan(), recipe)
    assert [cost.setting.decodes(lanes) for lanes in ("0", "+", "+-")] == [1, 1, 2]
    assert cost.setting.trained(HEAD) == linear // 128
