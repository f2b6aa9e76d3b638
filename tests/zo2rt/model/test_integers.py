"""Integer formats: the bytes that are specified, and no weight further than half a step."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from tests.thorough import examples
from zo2rt.model.codec import TORCH_DTYPES, decode, encode, encoded, write
from zo2rt.model.integers import Encoded
from zo2rt.model.layout import WireLayout
from zo2sim.dtypes import Dtype, TensorFormat

INTEGERS = (Dtype.INT8, Dtype.INT4, Dtype.INT4_ASYM)
FLOATS = (Dtype.FP32, Dtype.FP16, Dtype.BF16)
EPS = {Dtype.FP32: 2.0**-24, Dtype.FP16: 2.0**-11, Dtype.BF16: 2.0**-8}
"""Half the distance of two numbers, relative to them."""


def stored(weights: Tensor, dtype: Dtype, scale: Dtype = Dtype.FP32) -> tuple[Encoded, Tensor]:
    """The tensor in a format, and the weights that come out of it in the scales' format."""
    layout = WireLayout.mixed([(TensorFormat(dtype, scale), tuple(weights.shape))])
    buffer = torch.full((layout.num_bytes,), 0xAB, dtype=torch.uint8)
    encode([weights], buffer, layout)
    out = torch.empty(weights.shape, dtype=TORCH_DTYPES[scale])
    decode(buffer, layout, [out])
    return encoded(buffer, layout.pieces[0]), out


def by_hand(one: Encoded) -> NDArray[np.float64]:
    """(u - z) s of every weight in float64, from the bytes, as the room's docstring says."""
    rows, length = one.codes.shape[0], one.shape[-1]
    scales = one.scales.double().numpy()
    found = np.empty((rows, length))
    for r in range(rows):
        for c in range(length):
            group = c // one.group
            if one.dtype is Dtype.INT8:
                u, z = int(np.int8(one.codes[r, c].item() - 256 * (one.codes[r, c] > 127))), 0
            else:
                u = int(one.codes[r, c // 2]) >> (4 * (c % 2)) & 15
                z = 8 if one.zeros is None else one.zeros[r, group].item()
            found[r, c] = (u - z) * scales[r, group]
    return found


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("scale", FLOATS)
@pytest.mark.parametrize("shape", [(3, 256), (2, 3, 130), (5, 7), (2, 1), (129,), (0, 4)], ids=str)
def test_a_weight_is_its_steps_times_the_scale_rounded_once(
    dtype: Dtype, scale: Dtype, shape: tuple[int, ...]
):
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    one, out = stored(weights, dtype, scale)
    exact = torch.from_numpy(by_hand(one)).view(shape)
    assert torch.equal(out, exact.to(torch.float32).to(out.dtype))


class Elsewhere(Tensor):
    """Memory that says that it is a device's."""

    @property
    def device(self) -> torch.device:  # pyright: ignore[reportIncompatibleVariableOverride]
        return torch.device("cuda", 0)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_a_device_gets_the_bytes_that_the_host_has(dtype: Dtype):
    """Wherever in the buffer the tensor lies, and whatever was there."""
    weights = torch.randn((5, 130), generator=torch.Generator().manual_seed(3))
    layout = WireLayout.mixed([(TensorFormat(dtype, Dtype.FP16), (5, 130))] * 2)
    here, there = (torch.full((layout.num_bytes,), fill, dtype=torch.uint8) for fill in (0, 0xAB))
    for piece in layout.pieces:
        write(weights, here, piece)
        write(weights, there.as_subclass(Elsewhere), piece)
    assert torch.equal(here, there)


def test_bytes_of_a_tensor_stand_where_the_specification_says():
    weights = torch.tensor([[7.0, -7.5, 0.0], [0.0, 14.0, -15.0]])
    layout = WireLayout.mixed([(TensorFormat(Dtype.INT4, Dtype.FP32), (2, 3))])
    buffer = torch.full((layout.num_bytes,), 0xAB, dtype=torch.uint8)
    encode([weights], buffer, layout)
    assert buffer[:4].tolist() == [15 | 0 << 4, 8, 8 | 15 << 4, 0]
    assert not buffer[4:-8].any()
    assert buffer[-8:].view(torch.float32).tolist() == [1.0, 2.0]
    one, _ = stored(torch.tensor([[-4.0, 0.0, 11.0]]), Dtype.INT4_ASYM)
    assert one.zeros is not None
    assert (one.codes.tolist(), one.zeros.tolist(), one.scales.tolist()) == (
        [[0 | 4 << 4, 15]],
        [[4]],
        [[1.0]],
    )
    one, _ = stored(torch.tensor([[-127.5, 0.0, 127.0, 1.0]]), Dtype.INT8)
    assert one.codes.view(torch.int8).tolist() == [[-128, 0, 127, 1]]


@given(
    values=st.lists(st.floats(-3e4, 3e4, width=16), min_size=1, max_size=9),
    dtype=st.sampled_from(INTEGERS),
    scale=st.sampled_from(FLOATS),
)
@settings(max_examples=examples(300))
def test_no_weight_is_further_than_half_a_step(values: list[float], dtype: Dtype, scale: Dtype):
    """Half a step of its group's, and what rounding to the wanted format adds."""
    weights = torch.tensor([values])
    one, out = stored(weights, dtype, scale)
    step = one.scales.double()[0, 0].item()
    largest = max(weights.abs().max().item(), step)
    for value, found in zip(values, out[0].tolist(), strict=True):
        assert abs(value - found) <= step / 2 + 2 * EPS[scale] * largest
    low, high = max(0.0, *(-value for value in values)), max(0.0, *values)
    needed = {
        Dtype.INT8: max(low / 128, high / 127),
        Dtype.INT4: max(low / 8, high / 7),
        Dtype.INT4_ASYM: (low + high) / 15,
    }[dtype]
    tiny, last = torch.finfo(TORCH_DTYPES[scale]).tiny, 2.0 ** (dtype.bits - 23)
    up = last if scale is Dtype.FP32 else 2 * EPS[scale]
    assert step <= max(needed, tiny) * (1 + up) * (1 + 2.0**-23), "no coarser than it must be"


@given(
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from([Dtype.INT8, Dtype.INT4]),
    scale=st.sampled_from(FLOATS),
    size=st.sampled_from([1e-9, 1e-3, 1.0, 1e3]),
)
@settings(max_examples=examples(300))
def test_what_was_decoded_is_encoded_to_the_same_bytes(
    seed: int, dtype: Dtype, scale: Dtype, size: float
):
    """Or a model that goes from run to run would lose a little more in each."""
    weights = size * torch.randn(9, 300, generator=torch.Generator().manual_seed(seed))
    one, out = stored(weights.to(TORCH_DTYPES[scale]), dtype, scale)
    again, _ = stored(out, dtype, scale)
    assert torch.equal(one.scales, again.scales)
    assert torch.equal(one.codes, again.codes)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("scale", FLOATS)
def test_a_narrow_scale_costs_no_more_than_half_a_step_either(dtype: Dtype, scale: Dtype):
    """Were it rounded down, a group's largest weight would be cut off further than that."""
    weights = torch.randn(40, 128, generator=torch.Generator().manual_seed(4))
    one, _ = stored(weights, dtype, scale)
    error = np.abs(by_hand(one) - weights.double().numpy()) / one.scales.double().numpy()
    assert error.max() <= 0.5 + 1e-5


def test_the_error_is_that_of_rounding_to_a_grid():
    """Uniform within a step: a twelfth of its square in the mean."""
    weights = torch.randn(64, 1024, generator=torch.Generator().manual_seed(2))
    for dtype in INTEGERS:
        one, out = stored(weights, dtype)
        steps = one.scales.repeat_interleave(one.group, dim=1)
        error = ((out - weights) / steps).square().mean().item()
        assert error == pytest.approx(1 / 12, rel=0.03)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_what_is_zero_stays_zero(dtype: Dtype):
    _, out = stored(torch.tensor([[0.0, -0.0, 0.0], [0.0, 5.0, 3.0], [-1.0, 0.0, -3.0]]), dtype)
    assert out[0].tolist() == [0.0, 0.0, 0.0]
    assert (out[1, 0].item(), out[2, 1].item()) == (0.0, 0.0)


def test_groups_of_128_have_scales_of_their_own_and_int8_one_per_row():
    weights = torch.cat([torch.full((1, 128), 7.0), torch.full((1, 4), 70.0)], dim=1)
    assert stored(weights, Dtype.INT4)[0].scales.tolist() == [[1.0, 10.0]]
    assert stored(weights + 57.0, Dtype.INT8)[0].scales.tolist() == [[1.0]]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_rows_are_alike_however_many_are_encoded_at_once(dtype: Dtype):
    rows = torch.randn(70, 9000, generator=torch.Generator().manual_seed(1))  # more than one round
    _, together = stored(rows, dtype, Dtype.BF16)
    alone = torch.stack([stored(row[None], dtype, Dtype.BF16)[1][0] for row in rows])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(value: float):
    weights: Any = torch.tensor([[1.0, value]])
    with pytest.raises(ValueError, match="weights must be finite to be encoded; got NaN or inf"):
        stored(weights, Dtype.INT4)
