"""The linear law of a CPU beside frozen blocks and on several devices: adapters, integer formats,
their scales, what is built ahead, and copies between devices."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.zo2sim.cost.test_cpu import OPT, case
from zo2sim.cost.cpu import Amounts, amounts, floats, gap, wake, woken
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import dump, load
from zo2sim.schedule.ops import HEAD, Kind


@pytest.mark.parametrize("lanes", ["+-", "0"])
def test_a_block_in_an_integer_format_is_decoded_once_for_all_lanes(lanes: str):
    def forward(storage: Dtype, unit: int) -> Amounts:
        recipe = replace(case(microbatches=3).recipe, trainable="lora:2", storage_dtype=storage)
        setting = replace(case(), recipe=recipe).cost.setting
        return amounts(setting, Kind.FORWARD, unit, lanes, 0) or {}

    linear = 4 * 4 * 4 + 2 * 4 * 8
    key = "cpu.decode_int4_elements_per_s"
    assert forward(Dtype.INT4, 0)[key] == linear
    assert forward(Dtype.INT4_ASYM, 0)[key] == linear
    assert forward(Dtype.INT8, 0)["cpu.decode_int8_elements_per_s"] == linear
    assert forward(Dtype.INT4, 0)["cpu.call_s"] == forward(Dtype.FP32, 0).get("cpu.call_s", 0) + 6
    assert key not in forward(Dtype.INT4, HEAD)


def test_trained_scales_are_decoded_for_every_sign_and_sample():
    recipe = replace(
        case(microbatches=3, samples=2).recipe, trainable="scales", storage_dtype=Dtype.INT4
    )
    setting = replace(case(), recipe=recipe).cost.setting
    linear, key = 4 * 4 * 4 + 2 * 4 * 8, "cpu.decode_int4_elements_per_s"
    found = {lanes: amounts(setting, Kind.FORWARD, 0, lanes, 0) or {} for lanes in ("+-", "0")}
    assert (found["+-"][key], found["0"][key]) == (4 * linear, linear)
    rows = 4 * 4 + 8 + 4
    assert found["+-"]["cpu.gaussian_perturb_elements_per_s"] == 4 * rows
    assert found["+-"]["cpu.call_s"] == 4 * 6 + 4 * 6
    updated = amounts(setting, Kind.UPDATE, HEAD, "", 1) or {}
    assert updated["cpu.gaussian_update_elements_per_s"] == 2 * 3 * rows
    assert updated["cpu.call_s"] == 3 * 6


def test_a_machine_that_measured_no_integers_decodes_them_as_fp8():
    recipe = replace(case().recipe, trainable="lora:2", storage_dtype=Dtype.INT4)
    setting = replace(case(), recipe=recipe).cost.setting
    assert setting.cpu is not None
    older = replace(setting.cpu, decode_int4_elements_per_s=None, decode_int8_elements_per_s=None)
    setting = replace(setting, machine=replace(setting.machine, cpu=older))
    found = amounts(setting, Kind.FORWARD, 0, "+-", 0) or {}
    assert found["cpu.decode_scaled_elements_per_s"] == 4 * 4 * 4 + 2 * 4 * 8
    assert load(dump(setting.machine), where="older") == setting.machine


def test_adapters_take_two_products_and_a_sum_per_linear_layer():
    plain = amounts(case().cost.setting, Kind.FORWARD, 0, "0", 0) or {}
    recipe = replace(case().recipe, trainable="lora:3")
    adapted = amounts(replace(case(), recipe=recipe).cost.setting, Kind.FORWARD, 0, "0", 0) or {}
    sides = sum(out + inp for out, inp in OPT.blocks[0].linear_shapes)
    flops = "cpu.gemm_flops_per_s"
    assert adapted[flops] - plain[flops] == 2 * 2 * 3 * sides
    assert adapted["cpu.launch_s"] - plain["cpu.launch_s"] == 3 * 6
    # x is read, up's output written, and the sum takes three passes over it
    moved = sum(inp + 4 * out for out, inp in OPT.blocks[0].linear_shapes)
    nbytes = "cpu.elementwise_bytes_per_s"
    tokens = case().recipe.batch * case().recipe.sequence
    assert adapted[nbytes] - plain[nbytes] == moved * tokens * 4


def test_adapters_beside_four_bits_are_rounded_only_where_they_are_narrow():
    recipe = replace(case().recipe, trainable="lora:2", storage_dtype=Dtype.INT4)
    setting = replace(case(), recipe=recipe).cost.setting
    taken = amounts(setting, Kind.UPDATE, HEAD, "", 1)
    assert taken is not None
    assert "cpu.round_elements_per_s" not in taken
    narrow = replace(setting, recipe=replace(recipe, compute_dtype=Dtype.BF16))
    assert "cpu.round_elements_per_s" in (amounts(narrow, Kind.UPDATE, HEAD, "", 1) or {})


@pytest.mark.parametrize(
    "recipe",
    [
        {"trainable": "all"},
        {"trainable": "lora:2", "storage_dtype": Dtype.INT4},
        {"trainable": "scales", "storage_dtype": Dtype.INT4},
    ],
    ids=str,
)
def test_what_is_built_ahead_and_its_lanes_take_as_much_as_both_at_once(recipe: dict[str, object]):
    setting = replace(case(), recipe=replace(case(microbatches=3).recipe, **recipe)).cost.setting

    def taken(kind: Kind, *, finds: bool = False) -> Counter[str]:
        return Counter(floats(amounts(setting, kind, 0, "+", 0, finds=finds) or {}))

    built, found = taken(Kind.BUILD), taken(Kind.FORWARD, finds=True)
    assert built["cpu.build_s"] == 1
    assert found["cpu.gaussian_perturb_elements_per_s"] == 0
    assert built + found == taken(Kind.FORWARD) + Counter()


@pytest.mark.parametrize("kind", [Kind.SEND, Kind.GATHER])
def test_copies_between_devices_run_on_a_thread_of_their_own(kind: Kind):
    """Which no limit of the link hides."""
    setting = case().cost.setting
    link = replace(setting.machine.link, limit_bytes_per_s=setting.machine.link.h2d_bytes_per_s)
    limited = replace(setting, machine=replace(setting.machine, link=link))
    assert gap(limited, kind) == {}
    assert wake(kind) == {"cpu.wake_s": 1}
    assert woken(limited, kind) == woken(setting, kind) == {"cpu.copy_start_s": 1}
    assert woken(limited, Kind.H2D) == {}
