"""Kernel times: shapes of measured devices, of devices never measured, and of none."""

from dataclasses import replace
from importlib.resources import files
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zo2sim.cost.kernels import KernelModel, for_machine, scaled_model, table_model
from zo2sim.cost.kernels.attention import AttentionShape, Mask
from zo2sim.cost.kernels.residual import GridResidual
from zo2sim.cost.kernels.shapes import over_distinct
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named, names
from zo2sim.machines.machine import KERNEL_TABLES

A100 = table_model("a100-sxm-80gb")
RTX_4090 = scaled_model(165.2e12, 1.008e12, 128)
MODELS = [*map(table_model, KERNEL_TABLES), RTX_4090]
sizes = st.integers(1, 200_000)


@pytest.fixture(params=MODELS, ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> KernelModel:
    return request.param


# Rows of the measured tables (seconds), and the tolerance of a smooth fit


@pytest.mark.parametrize(
    ("gpu", "shape", "measured_s"),
    [
        ("a100-sxm-80gb", (64, 512, 512), 6.425e-6),
        ("a100-sxm-80gb", (4096, 12288, 12288), 4.3807e-3),
        ("h100-sxm-80gb", (1024, 4096, 4096), 4.263e-5),
        ("l40s-48gb", (8192, 16384, 16384), 1.6175e-2),
    ],
)
def test_times_of_measured_shapes_are_near_the_table(
    gpu: str, shape: tuple[int, int, int], measured_s: float
):
    assert table_model(gpu).gemm_s(*shape) == pytest.approx(measured_s, rel=0.05)


def test_attention_of_a_measured_shape_is_near_the_table():
    assert A100.attention_s(1, 128, 2, 2, 128) == pytest.approx(11.973e-6, rel=0.05)


# What holds for every shape


@given(m=sizes, n=sizes, k=sizes)
def test_no_product_is_free_or_beats_the_peak_arithmetic(m: int, n: int, k: int):
    for model in MODELS:
        assert 2 * m * n * k / model.rates.flops_per_s <= model.gemm_s(m, n, k) < inf


@given(
    batch=st.integers(1, 256),
    seq=st.integers(1, 65536),
    heads=st.integers(1, 128),
    head_dim=st.sampled_from([32, 64, 80, 96, 112, 128, 256]),
    causal=st.booleans(),
    window=st.none() | st.integers(1, 8192),
)
def test_no_attention_is_free_or_beats_the_peak_arithmetic(
    batch: int, seq: int, heads: int, head_dim: int, causal: bool, window: int | None
):
    shape = AttentionShape(
        Mask(causal=causal, window=window), *map(np.asarray, (batch, seq, heads, heads, head_dim))
    )
    for model in MODELS:
        seconds = model.attention_s(
            batch, seq, heads, heads, head_dim, causal=causal, window=window
        )
        assert float(shape.flops) / model.rates.flops_per_s <= seconds < inf


def test_the_peak_holds_where_a_correction_would_break_it():
    grid = np.array([1.0, 1e6])
    tenfold = GridResidual(
        axes=(grid, grid, grid),
        values=np.full((2, 2, 2), -np.log(10)),
    )
    faster = replace(
        A100,
        gemm=replace(A100.gemm, residual=tenfold),
        attention=replace(A100.attention, residual=tenfold),
    )
    peak = A100.rates.flops_per_s
    assert faster.gemm_s(8192, 8192, 8192) == pytest.approx(2 * 8192**3 / peak)
    pairs = 8192 * 8193 / 2
    expected_s = 4 * 64 * 32 * 128 * pairs / peak
    assert faster.attention_s(64, 8192, 32, 32, 128) == pytest.approx(expected_s)


@pytest.mark.parametrize("shape", [(4096, 4096), (49152, 12288), (12288, 49152)])
def test_more_tokens_hardly_ever_take_less_time(model: KernelModel, shape: tuple[int, int]):
    """Measured times fall, too, where the library goes over to another kernel."""
    seconds = np.asarray(model.gemm_s(np.geomspace(1, 1e5, 300), *shape))
    assert np.min(seconds / np.maximum.accumulate(seconds)) > 0.8


@pytest.mark.parametrize("shape", [(49152, 12288), (12288, 49152), (50272, 12288)])
def test_products_of_opt_175b_reach_a_steady_efficiency(model: KernelModel, shape: tuple[int, int]):
    tokens = np.array([2048.0, 8192.0, 65536.0])
    efficiency = 2 * tokens * np.prod(shape) / model.rates.flops_per_s
    efficiency = efficiency / model.gemm_s(tokens, *shape)
    assert np.all((efficiency > 0.65) & (efficiency <= 1))
    assert np.ptp(efficiency) < 0.15


def test_arrays_and_numbers_agree_and_repeats_do_not_matter():
    tokens = np.tile([1.0, 100.0, 2048.0, 9000.0], 50)
    one_by_one = [A100.gemm_s(float(m), 4096, 12288) for m in tokens[:4]]
    assert A100.gemm_s(tokens, 4096, 12288) == pytest.approx(np.tile(one_by_one, 50), rel=1e-12)
    assert np.shape(A100.gemm_s(tokens.reshape(4, 50), 4096, 12288)) == (4, 50)
    assert isinstance(A100.gemm_s(np.int64(128), 4096, 4096), float)


def test_distinct_shapes_are_computed_once():
    seen: list[int] = []

    def product(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        seen.append(a.size)
        return a * b + c

    a, b = np.tile([1.0, 2.0], 100), np.repeat([3.0, 5.0], 100)
    values = over_distinct(product, [a, b, np.full(200, 7.0)])
    assert seen == [4]
    assert np.array_equal(values, a * b + 7)


# Attention variants


def test_full_attention_costs_about_twice_the_causal_one():
    causal, full = (
        A100.attention_s(4, 8192, 32, 32, 128, causal=causal) for causal in (True, False)
    )
    assert full / causal == pytest.approx(1.9, abs=0.1)


def test_shared_key_value_heads_save_memory_traffic_only():
    own, shared = (A100.attention_s(1, 8192, 32, kv_heads, 128) for kv_heads in (32, 4))
    assert 0.95 * own < shared < own


def test_half_a_head_takes_more_than_half_the_time():
    whole, half = (A100.attention_s(4, 8192, 32, 32, head_dim) for head_dim in (128, 64))
    assert 0.5 * whole < half < 0.65 * whole


def test_a_window_saves_what_it_hides():
    unlimited = A100.attention_s(1, 8192, 32, 32, 128)
    assert A100.attention_s(1, 8192, 32, 32, 128, window=8192) == pytest.approx(unlimited)
    assert A100.attention_s(1, 8192, 32, 32, 128, window=1024) < 0.4 * unlimited


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (Mask(), 15),
        (Mask(causal=False), 25),
        (Mask(window=2), 12),
        (Mask(causal=False, window=1), 13),
    ],
)
def test_pairs_are_those_that_the_mask_keeps(mask: Mask, expected: int):
    query, key = np.indices((5, 5))
    reach = mask.reach
    kept = (query - key <= reach) & (key - query <= (0 if mask.causal else reach))
    assert mask.pairs(np.asarray(5.0), reach) == kept.sum() == expected


# Labels


@pytest.mark.parametrize(
    ("shape", "extrapolated"),
    [
        ((64, 512, 512), False),
        ((8192, 65536, 65536), False),
        ((2048, 49152, 12288), False),
        ((63, 512, 512), True),
        ((8193, 512, 512), True),
        ((64, 65537, 512), True),
        ((64, 512, 511), True),
    ],
)
def test_shapes_beyond_the_table_are_labelled(shape: tuple[int, int, int], extrapolated: bool):
    assert A100.gemm_extrapolated(*shape) is extrapolated


def test_labels_of_arrays_are_arrays():
    flags = A100.gemm_extrapolated(np.array([1, 64]), 4096, 4096)
    assert np.asarray(flags).tolist() == [True, False]


def test_other_formats_and_devices_are_labelled():
    assert A100.gemm_extrapolated(64, 512, 512, Dtype.FP16) is True
    assert RTX_4090.gemm_extrapolated(64, 512, 512) is True
    assert RTX_4090.attention_extrapolated(1, 128, 2, 2, 128) is True


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"head_dim": 64},
        {"kv_heads": 8},
        {"causal": False},
        {"window": 512},
        {"seq": 32768},
        {"batch": 2000},
        {"dtype": Dtype.FP16},
    ],
    ids=str,
)
def test_attention_other_than_the_measured_one_is_labelled(change: dict[str, object]):
    arguments = {"batch": 1, "seq": 2048, "heads": 32, "kv_heads": 32, "head_dim": 128, **change}
    assert A100.attention_extrapolated(**arguments) is bool(change)


def test_provenance_states_source_and_hold_out_errors():
    assert "AIConfigurator 095f58a" in A100.provenance
    assert f"GEMM {A100.gemm.errors['main'].median:.1%}" in A100.provenance
    assert "not measured" in RTX_4090.provenance


def test_errors_on_a_device_left_out_exceed_those_on_shapes_left_out():
    sigmas = {name: table_model(name).gemm.errors["main"].log_sigma for name in KERNEL_TABLES}
    few_pairs = sigmas.pop("rtx-4090-24gb")
    assert max(sigmas.values()) < 0.1 < RTX_4090.gemm.errors["main"].log_sigma < few_pairs < 0.2


# Devices


def test_a_sibling_keeps_efficiencies_at_its_own_rates():
    faster = replace(A100.rates, flops_per_s=2 * A100.rates.flops_per_s)
    sibling = A100.with_rates(faster)
    large = (8192, 16384, 16384)
    assert sibling.gemm_s(*large) == pytest.approx(A100.gemm_s(*large) / 2, rel=0.02)
    assert sibling.gemm_extrapolated(*large) is True


def test_a_device_of_the_same_rates_is_the_measured_one():
    bytes_per_s = A100.rates.bytes_per_s * (1 + 1e-15)
    assert A100.with_rates(replace(A100.rates, bytes_per_s=bytes_per_s)) is A100


@pytest.mark.parametrize("name", sorted({*KERNEL_TABLES} & {*names()}))
def test_a_measured_machine_gets_its_table(name: str):
    model = for_machine(named(name))
    assert (model.name, model.measured) == (name, True)
    assert model.gemm.residual is table_model(name).gemm.residual


def test_a_sibling_names_the_table_of_its_chip():
    model = for_machine(named("a100-pcie-80gb"))
    assert (model.name, model.measured) == ("a100-sxm-80gb", False)
    assert model is for_machine(named("a100-pcie-80gb"))


def test_a_machine_without_a_table_gets_its_class():
    machine = named("rtx-3090-24gb")
    assert for_machine(machine).name == "class"


def test_without_a_count_of_sms_there_are_no_waves():
    unknown = scaled_model(1e14, 1e12)
    tokens = 128.0 * np.arange(40, 80)
    steps = np.diff(np.asarray(unknown.gemm_s(tokens, 4096, 4096)))
    assert np.ptp(steps) < 0.01 * steps.mean()


# Errors


@pytest.mark.parametrize("wrong", [0, -1, nan, inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_sizes_must_be_positive_and_finite(wrong: float, place: int):
    shape = [64.0, 512.0, 512.0]
    shape[place] = wrong
    with pytest.raises(ValueError, match=f"{'mnk'[place]} must be finite and > 0; got"):
        A100.gemm_s(*shape)
    with pytest.raises(ValueError, match="must be finite and > 0"):
        A100.gemm_s(np.array(shape[:1] * 2), *shape[1:])


@pytest.mark.parametrize("name", ["batch", "seq", "heads", "kv_heads", "head_dim"])
def test_attention_sizes_must_be_positive(name: str):
    sizes = {"batch": 1, "seq": 128, "heads": 2, "kv_heads": 2, "head_dim": 128, name: 0}
    with pytest.raises(ValueError, match=f"{name} must be finite and > 0; got 0"):
        A100.attention_s(*sizes.values())


def test_a_window_must_be_positive():
    with pytest.raises(ValueError, match="window must be > 0, or None"):
        A100.attention_s(1, 128, 2, 2, 128, window=nan)


def test_rates_must_be_positive():
    with pytest.raises(ValueError, match="flops_per_s must be finite and > 0; got -1"):
        scaled_model(-1.0, 1e12)
    with pytest.raises(ValueError, match="num_sms must be >= 1"):
        scaled_model(1e14, 1e12, 0)


def test_an_unknown_table_names_the_known_ones():
    with pytest.raises(ValueError, match=r"a100-sxm-80gb, .* were measured; got 'b200'"):
        table_model("b200")


def test_data_files_are_small():
    folder = files("zo2sim") / "data" / "kernels"
    assert sum(len(path.read_bytes()) for path in folder.iterdir()) < 500_000
