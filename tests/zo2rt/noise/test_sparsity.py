"""Sparse-MeZO: thresholds by rank, and what they mean for perturbations and updates."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.thorough import examples
from tests.zo2rt.noise.noise_cases import FORMATS, KEY, KINDS, same_bits, stored, update_of
from zo2rt.noise import Draw, Extent, Update, perturb, perturb_pair, thresholds, update
from zo2rt.noise.extent import Distribution
from zo2rt.noise.rounding import narrow, widen
from zo2sim.dtypes import Dtype

COUNT = 3000
UPDATES = [update_of(step, 1 + step % 2, lr=0.5) for step in range(4)]


def threshold_of(theta: NDArray[Any], sparsity: float) -> float:
    return thresholds({"weight": theta}, sparsity)["weight"]


# ---- Thresholds ----


@given(
    st.sampled_from(FORMATS), st.integers(1, 400), st.integers(0, 9),
    st.integers(1, 99).map(lambda hundredths: hundredths / 100),
)  # fmt: skip
def test_a_threshold_is_the_magnitude_of_its_rank(
    dtype: Dtype, count: int, seed: int, sparsity: float
) -> None:
    theta = stored(dtype, count, seed)
    num_trained = count - math.floor(round(100 * sparsity) * count / 100)
    magnitudes = np.sort(np.abs(widen(theta, dtype)))
    expected = float(magnitudes[num_trained - 1])
    if math.isinf(expected):
        with pytest.raises(ValueError, match="the largest of them is inf"):
            threshold_of(theta, sparsity)
    else:
        assert threshold_of(theta, sparsity) == expected


def test_ties_are_trained_together() -> None:
    theta = np.array([1, -2, 2, -2, 3], np.float32)
    assert threshold_of(theta, 0.6) == 2.0
    assert threshold_of(theta, 0.8) == 1.0


def test_some_weight_is_always_trained() -> None:
    assert threshold_of(np.array([-0.25, 2.0, -3.0], np.float32), 0.999) == 0.25


def test_the_digits_of_the_sparsity_count() -> None:
    """0.29 x 100 is 28.999999999999996 in binary: 71 weights would become 72."""
    assert threshold_of(np.arange(1, 101, dtype=np.float32), 0.29) == 71.0


def test_zero_sparsity_is_dense() -> None:
    assert thresholds({"a": torch.ones(3), "b": torch.zeros(0)}, 0.0) == {
        "a": math.inf,
        "b": math.inf,
    }


def test_tensors_of_every_format_keep_their_names_and_order() -> None:
    theta = torch.tensor([[3.0, -1.0], [0.5, -2.0]])
    parameters = {"z": theta, "a": theta.half(), "m": torch.nn.Parameter(theta.bfloat16())}
    assert list(thresholds(parameters, 0.5).items()) == [("z", 1.0), ("a", 1.0), ("m", 1.0)]


def test_more_weights_than_a_chunk() -> None:
    theta = torch.linspace(1, -1, 2**20 + 12_345)
    rank = theta.numel() - math.floor(theta.numel() * 3 / 4)
    assert threshold_of(theta.numpy(), 0.75) == float(theta.abs().kthvalue(rank).values)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_a_sparsity_out_of_range_is_refused(sparsity: float) -> None:
    with pytest.raises(
        ValueError, match=f"sparsity must be in 0 .. 1, and less than 1; got {sparsity}"
    ):
        thresholds({"weight": torch.ones(3)}, sparsity)


def test_weights_without_a_threshold_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"empty\.bias must have weights for a threshold"):
        thresholds({"empty.bias": torch.zeros(0)}, 0.5)
    broken = torch.tensor([1.0, math.nan, math.nan])
    with pytest.raises(ValueError, match=r"broken must have more finite weights: 2 of 3 .* is nan"):
        thresholds({"broken": broken}, 0.5)
    assert thresholds({"half broken": broken}, 0.7) == {"half broken": 1.0}


# ---- Masks ----


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_small_weights_are_dense_and_large_ones_stay(dtype: Dtype, kind: Distribution) -> None:
    theta, dense = stored(dtype, COUNT), Extent(p=2, first_element=77)
    h = threshold_of(theta, 0.75)
    sparse = Extent(p=2, first_element=77, threshold=h)
    small = np.abs(widen(theta, dtype)) <= h
    assert 0 < small.sum() < COUNT
    for work in (
        partial(_perturbed, kind=kind, coefficient=1e-3),
        partial(_perturbed, kind=kind, coefficient=-1e-3),
        partial(_updated, kind=kind, updates=UPDATES[:1], stochastic_rounding=False),
        partial(_updated, kind=kind, updates=UPDATES[:1], stochastic_rounding=True),
    ):
        assert same_bits(work(theta, sparse), np.where(small, work(theta, dense), theta))


def _perturbed(theta: NDArray[Any], place: Extent, **noise: Any) -> NDArray[Any]:
    out = np.empty_like(theta)
    perturb(out, theta, place, key=KEY, **noise)
    return out


def _updated(theta: NDArray[Any], place: Extent, **change: Any) -> NDArray[Any]:
    after = theta.copy()
    update(after, place, **change)
    return after


@settings(max_examples=examples(30))
@given(
    st.sampled_from(FORMATS), st.sampled_from(KINDS), st.booleans(), st.integers(0, COUNT - 1)
)  # fmt: skip
def test_each_update_of_a_replay_compares_anew(
    dtype: Dtype, kind: Distribution, rounding: bool, rank: int
) -> None:
    theta = stored(dtype, COUNT)
    h = float(np.sort(np.abs(widen(theta, dtype)))[rank])
    place = Extent(p=1, threshold=h if math.isfinite(h) else 1.0)
    work = partial(_updated, place=place, kind=kind, stochastic_rounding=rounding)
    stepped = theta
    for one in UPDATES:
        stepped = work(stepped, updates=[one])
    assert same_bits(work(theta, updates=UPDATES), stepped)


def test_a_weight_may_leave_the_small_ones_but_not_come_back() -> None:
    """Growth by 10 % an update: 1.0 passes the threshold with the third and then stays."""
    grow = Update(draws=(Draw(key=KEY, g=0.0),), lr=1.0, weight_decay=-0.1)
    theta = np.array([1.0, 0.1, 1.3], np.float32)
    update(theta, Extent(p=0, threshold=1.25), updates=[grow] * 5, kind="rademacher")
    assert [round(float(x), 4) for x in theta] == [1.331, 0.1611, 1.3]


@pytest.mark.parametrize("dtype", FORMATS)
def test_nan_is_not_trained_and_infinity_stays(dtype: Dtype) -> None:
    theta = narrow(np.array([np.nan, np.inf, -np.inf, -0.0, 0.5], np.float32), dtype)
    place = Extent(p=0, threshold=0.0)
    plus, minus = np.empty_like(theta), np.empty_like(theta)
    perturb_pair(plus, minus, theta, place, key=KEY, coefficient=1e-3, kind="gaussian")
    update(theta, place, updates=UPDATES, kind="gaussian")
    for after in (widen(plus, dtype), widen(minus, dtype), widen(theta, dtype)):
        assert np.isnan(after[0])
        assert after[[1, 2, 4]].tolist() == [np.inf, -np.inf, 0.5]
        assert after[3] != 0.0  # -0 is not larger than 0


def test_what_is_not_trained_is_still_rounded_to_the_format_of_w() -> None:
    theta = np.array([1.0 + 2.0**-12, 3.0], np.float32)
    out = np.zeros(2, np.float16)
    perturb(out, theta, Extent(p=0, threshold=0.5), key=KEY, coefficient=1.0, kind="gaussian")
    assert out.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("threshold", [-1e-9, float("nan"), 3.5e38])
def test_thresholds_out_of_range_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"p = 7: a threshold must be >= 0 and finite in fp32"):
        Extent(p=7, threshold=threshold)
