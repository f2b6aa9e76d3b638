"""The numba kernels give the reference's bits: every format, kind, tiling and thread count."""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.thorough import examples
from tests.zo2rt.noise.noise_cases import (
    FORMATS,
    KEY,
    KINDS,
    perturbed,
    same_bits,
    still,
    stored,
    update_of,
)
from zo2rt.noise import (
    Draw,
    Extent,
    Update,
    kernels,
    perturb,
    perturb_pair,
    reference,
    split,
    update,
)
from zo2rt.noise.extent import Distribution
from zo2rt.noise.rounding import narrow, nearest, widen
from zo2sim.dtypes import Dtype

PLACES = st.builds(
    Extent,
    p=st.integers(0, 2**32 - 1),
    first_element=st.integers(0, 300) | st.integers(2**35 - 5000, 2**35 + 300) | st.just(2**62),
    threshold=st.just(math.inf) | st.floats(0.0, 1e4, width=32),
)
COUNTS = st.integers(0, 300) | st.integers(2000, 2300) | st.just(5000)
QUICK = settings(deadline=None, max_examples=examples(30))


@QUICK
@given(st.sampled_from(FORMATS), st.sampled_from(KINDS), COUNTS, PLACES)
def test_perturb_is_the_reference(
    dtype: Dtype, kind: Distribution, count: int, place: Extent
) -> None:
    theta = stored(dtype, count)
    out = np.empty_like(theta)
    perturb(out, theta, place, key=KEY, coefficient=1e-3, kind=kind)
    assert same_bits(out, perturbed(theta, dtype, place, kind))
    assert same_bits(theta, stored(dtype, count))


@pytest.mark.parametrize("master", FORMATS)
@pytest.mark.parametrize("compute", FORMATS)
def test_w_may_have_another_format_than_theta(master: Dtype, compute: Dtype) -> None:
    theta, place = stored(master, 3000), Extent(p=1, first_element=5)
    out = narrow(np.zeros(3000, np.float32), compute)
    perturb(out, theta, place, key=KEY, coefficient=-1e-3, kind="gaussian")
    exact = reference.perturbed(
        widen(theta, master), place, key=KEY, coefficient=-1e-3, kind="gaussian"
    )
    assert same_bits(out, narrow(exact, compute))


@QUICK
@given(st.sampled_from(FORMATS), st.sampled_from(FORMATS), st.sampled_from(KINDS), COUNTS, PLACES)
def test_a_pair_is_two_perturbations(
    master: Dtype, compute: Dtype, kind: Distribution, count: int, place: Extent
) -> None:
    theta = stored(master, count)
    plus, minus, once, again = (narrow(np.zeros(count, np.float32), compute) for _ in range(4))
    perturb_pair(plus, minus, theta, place, key=KEY, coefficient=1e-3, kind=kind)
    perturb(once, theta, place, key=KEY, coefficient=1e-3, kind=kind)
    perturb(again, theta, place, key=KEY, coefficient=-1e-3, kind=kind)
    assert same_bits(plus, once)
    assert same_bits(minus, again)
    assert same_bits(theta, stored(master, count))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_place", [0, 1])
def test_either_of_a_pair_may_be_theta_itself(in_place: int, kind: Distribution) -> None:
    theta, place = stored(Dtype.FP32, 5000), Extent(p=3)
    outs = [np.empty_like(theta), np.empty_like(theta)]
    outs[in_place] = theta.copy()
    plus, minus = outs
    perturb_pair(plus, minus, outs[in_place], place, key=KEY, coefficient=1e-3, kind=kind)
    for out, c in ((plus, 1e-3), (minus, -1e-3)):
        assert same_bits(out, perturbed(theta, Dtype.FP32, place, kind, coefficient=c))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", FORMATS)
def test_w_may_be_theta_itself(dtype: Dtype, kind: Distribution) -> None:
    theta, place = stored(dtype, 5000), Extent(p=3, first_element=7)
    expected = perturbed(theta, dtype, place, kind)
    perturb(theta, theta, place, key=KEY, coefficient=1e-3, kind=kind)
    assert same_bits(theta, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_product_is_rounded_before_the_sum(kind: Distribution) -> None:
    """With theta = -fp32(c z), a fused multiply-add would leave the product's rounding error."""
    count, c, place = 4096, float(np.float32(0.1)), Extent(p=0)
    product = np.float32(c) * reference.noise(KEY, place, count, kind)
    out = np.ones(count, np.float32)
    perturb(out, -product, place, key=KEY, coefficient=c, kind=kind)
    assert out.tolist() == [0.0] * count


UPDATES = st.lists(
    st.builds(
        update_of, st.integers(0, 9), st.integers(1, 3), weight_decay=st.sampled_from((0.0, 0.1))
    ),
    max_size=4,
)


@QUICK
@given(st.sampled_from(FORMATS), st.sampled_from(KINDS), COUNTS, PLACES, UPDATES, st.booleans())
def test_update_is_the_reference(
    dtype: Dtype,
    kind: Distribution,
    count: int,
    place: Extent,
    updates: list[Update],
    rounding: bool,
) -> None:
    theta = stored(dtype, count)
    expected = reference.updated(
        widen(theta, dtype), place, updates, kind=kind, dtype=dtype, stochastic_rounding=rounding
    )
    update(theta, place, updates=updates, kind=kind, stochastic_rounding=rounding)
    assert same_bits(theta, narrow(expected, dtype))


@QUICK
@given(
    st.sampled_from(FORMATS), st.sampled_from(KINDS), PLACES, st.booleans(),
    st.lists(st.integers(0, 3000), max_size=4),
)  # fmt: skip
def test_any_tiling_in_any_order_gives_the_same_bits(
    dtype: Dtype, kind: Distribution, place: Extent, rounding: bool, cuts: list[int]
) -> None:
    updates = [update_of(1, 2), update_of(2, 1)]
    work = partial(update, updates=updates, kind=kind, stochastic_rounding=rounding)
    whole, pieces = stored(dtype, 3000), stored(dtype, 3000)
    work(whole, place)
    bounds = sorted({0, *cuts, 3000})
    for start, stop in reversed(list(pairwise(bounds))):
        work(pieces[start:stop], place.advanced(start))
    assert same_bits(pieces, whole)


@pytest.mark.parametrize("rounding", [False, True])
@pytest.mark.parametrize("dtype", FORMATS)
def test_one_pass_over_updates_is_one_pass_each(dtype: Dtype, rounding: bool) -> None:
    updates = [update_of(step, 1 + step % 2) for step in range(5)]
    work = partial(update, kind="gaussian", stochastic_rounding=rounding)
    replayed, stepped = stored(dtype, 2500), stored(dtype, 2500)
    work(replayed, Extent(p=1), updates=updates)
    for one in updates:
        work(stepped, Extent(p=1), updates=[one])
    assert same_bits(replayed, stepped)
    assert not same_bits(replayed, stored(dtype, 2500))


@pytest.mark.parametrize("torch_dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_torch_rounds_as_the_kernels_do(torch_dtype: torch.dtype) -> None:
    """torch's own conversions of the reference's values, on tensors with two dimensions."""
    theta, place = torch.linspace(-2, 2, 4000).to(torch_dtype).view(40, 100), Extent(p=2)
    out = torch.empty_like(theta)
    perturb(out, theta, place, key=KEY, coefficient=0.5, kind="gaussian")
    z = torch.from_numpy(reference.noise(KEY, place, 4000, "gaussian")).view(40, 100)
    assert torch.equal(out, (theta.float() + 0.5 * z).to(torch_dtype))


def test_every_fp16_number_survives_the_kernels() -> None:
    """Adding -0 c: a rademacher step of size zero returns every number, NaNs apart, as it was."""
    every = np.arange(65536, dtype=np.uint32).astype(np.uint16).view(np.float16)
    numbers = every[~np.isnan(every) & (every != 0)]
    out = np.zeros_like(numbers)
    perturb(out, numbers, Extent(p=0), key=KEY, coefficient=0.0, kind="rademacher")
    assert same_bits(out, numbers)


@pytest.mark.parametrize("dtype", [Dtype.FP16, Dtype.BF16])
def test_rounding_is_exact_at_and_beside_every_tie(dtype: Dtype) -> None:
    every = np.arange(65536, dtype=np.uint32).astype(np.uint16)
    grid = widen(every.view(np.float16) if dtype is Dtype.FP16 else every, dtype)
    grid = np.unique(grid[np.isfinite(grid)])
    ties = ((grid[1:].astype(np.float64) + grid[:-1]) / 2).astype(np.float32)
    values = np.concatenate(
        [ties, np.nextafter(ties, np.float32(-np.inf)), np.nextafter(ties, np.float32(np.inf))]
    )
    values = values[values != 0]
    out = narrow(np.zeros_like(values), dtype)
    perturb(out, values, Extent(p=0), key=KEY, coefficient=0.0, kind="gaussian")
    assert same_bits(out, narrow(values, dtype))
    assert np.isin(widen(out, dtype), [*grid, -np.inf, np.inf]).all()


@pytest.mark.parametrize("dtype", FORMATS)
def test_nan_and_infinity_stay(dtype: Dtype) -> None:
    theta = narrow(np.array([np.nan, np.inf, -np.inf], np.float32), dtype)
    for rounding in (False, True):
        update(
            theta,
            Extent(p=0),
            updates=[update_of(0, 1)],
            kind="gaussian",
            stochastic_rounding=rounding,
        )
        values = widen(theta, dtype)
        assert np.isnan(values[0])
        assert values[1:].tolist() == [np.inf, -np.inf]


def test_every_nan_is_the_one_of_bf16() -> None:
    """As the reference and PyTorch round it, whatever its sign and payload."""
    bits = np.array([0x7F800001, 0x7FC12345, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF], np.uint32)
    out = np.zeros(len(bits), np.uint16)
    perturb(out, bits.view(np.float32), Extent(p=0), key=KEY, coefficient=0.0, kind="gaussian")
    assert {*out} == {0x7FC0}


def test_a_zero_gradient_decays() -> None:
    theta = np.ones(10, np.float32)
    update(theta, Extent(p=0), updates=[], kind="gaussian")
    assert theta.tolist() == [1.0] * 10
    update(theta, Extent(p=0), updates=[still(1, lr=0.1, weight_decay=0.5)], kind="gaussian")
    assert theta.tolist() == [float(np.float32(0.95))] * 10


@pytest.mark.parametrize("kind", KINDS)
def test_signs_of_zeros_are_the_references(kind: Distribution) -> None:
    """-0 - (+0) is -0 and -0 - (-0) is +0, so s must start as the first product."""
    theta, place = np.full(200, -0.0, np.float32), Extent(p=0)
    expected = reference.updated(
        theta, place, [still(2)], kind=kind, dtype=Dtype.FP32, stochastic_rounding=False
    )
    assert 0 < np.signbit(expected).sum() < 200
    update(theta, place, updates=[still(2)], kind=kind)
    assert same_bits(theta, expected)


def test_subnormal_fp16_goes_up_exactly_when_fraction_and_draw_reach_one() -> None:
    """Half a million elements a quarter above a subnormal: some fractions and draws sum to one."""
    count, place = 2**19, Extent(p=0)
    nudge = Update(draws=(Draw(key=KEY, g=5.25 * 2.0**-24),), lr=1.0, weight_decay=0.0)
    draws = reference.halves(KEY, place, count, word3=reference.ROUNDING)
    assert (draws == 65536 * 3 // 4).any()
    theta = np.zeros(count, np.float16)
    update(theta, place, updates=[nudge], kind="rademacher", stochastic_rounding=True)
    points = np.abs(theta.astype(np.float64)) * 2**24
    assert (points == np.where(draws >= 65536 * 3 // 4, 6, 5)).all()


@pytest.mark.parametrize("dtype", [Dtype.FP16, Dtype.BF16])
def test_stochastic_rounding_moves_small_updates_on_average(dtype: Dtype) -> None:
    """A quarter of a grid step: nearest never moves, stochastic moves a quarter of the time."""
    count = 40_000
    step = {Dtype.FP16: 2.0**-10, Dtype.BF16: 2.0**-7}[dtype]
    shrink = Update(draws=(Draw(key=KEY, g=0.0),), lr=1.0, weight_decay=-step / 4)

    def after(rounding: bool) -> NDArray[Any]:
        theta = narrow(np.ones(count, np.float32), dtype)
        update(
            theta, Extent(p=0), updates=[shrink], kind="rademacher", stochastic_rounding=rounding
        )
        return widen(theta, dtype)

    assert set(after(False).tolist()) == {1.0}
    moved = after(True)
    assert set(moved.tolist()) == {1.0, 1.0 + step}
    assert abs((moved > 1).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / count)


def test_nothing_is_fused_or_parallel() -> None:
    """The compiler options behind the promise of equal bits (DESIGN 5)."""
    options = kernels.perturb.targetoptions
    assert not options.get("fastmath")
    assert not options.get("parallel")
    assert options["nogil"]


@pytest.mark.parametrize(
    "buffer",
    [
        torch.zeros(4, 4).t()[1:],
        torch.zeros(4, dtype=torch.float64),
        np.zeros(4, np.int32),
        np.zeros((4, 4), np.float32)[:, 1],
        torch.zeros(4, device="meta"),
    ],
)
def test_unusable_buffers_are_refused(buffer: Any) -> None:
    with pytest.raises(ValueError, match="a buffer must be contiguous, in memory, and fp32"):
        perturb(buffer, buffer, Extent(p=0), key=1, coefficient=1.0, kind="gaussian")
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="must be contiguous"):
        split(pool, 2, partial(update, updates=[update_of(0, 1)]), Extent(p=0), buffer)


def test_buffers_of_unequal_length_are_refused() -> None:
    four, three = torch.zeros(4), torch.zeros(3)
    with pytest.raises(ValueError, match=r"equally many elements; got \[3, 4\]"):
        perturb(four, three, Extent(p=0), key=1, coefficient=1.0, kind="gaussian")
    with pytest.raises(ValueError, match=r"equally many elements; got \[3, 4\]"):
        perturb_pair(four, three, four, Extent(p=0), key=1, coefficient=1.0, kind="gaussian")


def test_the_reference_rounds_to_nearest_as_torch_does() -> None:
    values = stored(Dtype.FP32, 5000)
    for dtype, other in ((Dtype.FP16, torch.float16), (Dtype.BF16, torch.bfloat16)):
        expected = torch.from_numpy(values).to(other).float().numpy()
        assert same_bits(nearest(values, dtype), expected)


@pytest.mark.parametrize("count", [8, 16, 21])
def test_words_are_looked_up_within_their_buffers(count: int):
    """Compiled code checks no index, so the same code runs here without being compiled."""
    rows = -(-count // 8)
    words = np.random.default_rng(count).integers(0, 2**32, (4, rows), np.uint32)
    table = np.arange(2**16, dtype=np.float32)
    halves = words.T.ravel().view("<u2").astype(np.float32)
    looked_up, spread = np.zeros((2, 8 * rows), np.float32)
    kernels._look_up.py_func(looked_up, words, count, table)
    kernels._spread_halves.py_func(spread, words, count)
    assert np.array_equal(looked_up, halves)
    assert np.array_equal(spread, halves)
