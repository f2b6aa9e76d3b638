"""What a large product reaches sets the pace of arithmetic: in a burst, and in long work."""

from dataclasses import replace

import pytest

from zo2sim.cost.kernels import for_dtype, for_machine, scaled_model, table_model
from zo2sim.cost.kernels.model import KernelModel
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named, names
from zo2sim.machines.machine import Machine
from zo2sim.machines.quantity import Quantity

EDGE = 8192
FLOPS = 2.0 * EDGE**3


def large(model: KernelModel) -> float:
    """FLOP/s of the product that stands for large ones."""
    return FLOPS / model.gemm_s(EDGE, EDGE, EDGE)


def reaching(name: str, gemm: float | None, ratio: float | None) -> Machine:
    """A machine whose large product reaches what is given."""
    machine = named(name)
    quantity, share = (
        None if n is None else Quantity(n, "measured", "a test") for n in (gemm, ratio)
    )
    return replace(
        machine,
        device=replace(machine.device, gemm_flops_per_s=quantity, sustained_ratio=share),
    )


def test_a_large_product_that_somebody_measured_slows_arithmetic_and_no_memory():
    plain = scaled_model(125e12, 900e9, 80)
    slowed = plain.with_large_gemm(60e12)
    assert large(slowed) == pytest.approx(60e12, rel=1e-4)
    ratio = large(plain) / 60e12
    assert slowed.gemm_s(4096, 4096, 4096) / plain.gemm_s(4096, 4096, 4096) > 0.95 * ratio
    assert slowed.attention_s(16, 2048, 32, 32, 128) > 1.2 * plain.attention_s(
        16, 2048, 32, 32, 128
    )
    one_token = slowed.gemm_s(1, 16384, 16384) / plain.gemm_s(1, 16384, 16384)
    assert one_token < 0.85 * ratio
    assert "arithmetic 1." in slowed.provenance


def test_a_card_that_beats_its_data_sheet_is_as_fast_as_it_is():
    model = scaled_model(71e12, 936e9, 82).with_large_gemm(76e12)
    assert large(model) == pytest.approx(76e12, rel=1e-4)


@pytest.mark.parametrize("name", ["a100-sxm-80gb", "rtx-4090-24gb"])
def test_a_machines_own_product_counts_with_a_table_and_without(name: str):
    model = for_machine(reaching(name, 150e12, None))
    assert large(model) == pytest.approx(150e12, rel=1e-4)
    assert model is for_machine(reaching(name, 150e12, None))


def test_a_machine_that_says_nothing_is_its_table():
    assert for_machine(reaching("a100-sxm-80gb", None, None)) is table_model("a100-sxm-80gb")


@pytest.mark.parametrize("ratio", [0.4, 0.6, 0.9, 1.0])
def test_long_work_leaves_the_share_that_is_said_of_a_large_product(ratio: float):
    model = for_machine(reaching("a100-sxm-80gb", 266e12, ratio))
    assert large(model) == pytest.approx(ratio * 266e12, rel=1e-3)


def test_an_inefficient_product_loses_less_in_long_work():
    """It draws less power."""
    burst, long = (for_machine(reaching("a100-sxm-80gb", 266e12, r)) for r in (1.0, 0.6))
    shapes = ((EDGE, EDGE, EDGE), (512, 4096, 4096), (128, 1024, 1024), (1, 4096, 4096))
    longer = [long.gemm_s(*shape) / burst.gemm_s(*shape) for shape in shapes]
    assert longer == sorted(longer, reverse=True)
    assert longer[-1] < 1.01


@pytest.mark.parametrize("name", [name for name in names() if name != "this-host"])
def test_a_machine_of_the_catalogue_computes_as_its_population_does(name: str):
    device = named(name).device
    assert device.gemm_flops_per_s is not None
    assert device.sustained_ratio is not None
    assert device.fp32_gemm_flops_per_s is not None
    wanted = device.gemm_flops_per_s.value * device.sustained_ratio.value
    assert large(for_machine(named(name))) == pytest.approx(wanted, rel=1e-3)
    single = large(for_dtype(named(name), Dtype.FP32))
    assert single == pytest.approx(device.fp32_gemm_flops_per_s.value, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("rtx-4090-24gb", 46, 56),
        ("l40s-48gb", 44, 50),
        ("rtx-3090-24gb", 24, 26),
        ("t4-16gb", 4.0, 4.6),
    ],
)
def test_fp32_products_are_priced_at_what_they_reach(name: str, low: float, high: float):
    """TFLOP/s that were measured, of data sheets that say 82.6, 91.6, 35.6 and 8.1."""
    assert low < large(for_dtype(named(name), Dtype.FP32)) / 1e12 < high
