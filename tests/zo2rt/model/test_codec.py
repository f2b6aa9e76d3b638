"""Wire codecs: exact sizes, exact values, and fp8 that saturates."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zo2rt.model.codec import TORCH_DTYPES, decode, encode, recode, views
from zo2rt.model.layout import WireLayout
from zo2sim.dtypes import Dtype
from zo2sim.models.shapes import Parameter, Unit

FLT_MAX = torch.finfo(torch.float32).max
shapes = st.lists(st.lists(st.integers(0, 9), max_size=3).map(tuple), max_size=5)
FORMATS = (Dtype.FP32, Dtype.FP16, Dtype.BF16, Dtype.FP8)
"""Of every tensor; integer formats are those of some tensors (`test_integers`)."""
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


def encoded(layout: WireLayout, *tensors: Tensor) -> Tensor:
    buffer = torch.full((layout.num_bytes,), 0xAB, dtype=torch.uint8)
    encode(tensors, buffer, layout)
    return buffer


def scales(buffer: torch.Tensor, layout: WireLayout) -> list[torch.Tensor]:
    """Per tensor the scales of its rows, which stand at the end of its piece."""
    return [buffer[p.scales_start : p.end].view(torch.float32) for p in layout.pieces]


def there_and_back(dtype: Dtype, tensor: Tensor, to: torch.dtype = torch.float32) -> Tensor:
    layout = WireLayout.of(dtype, [tuple(tensor.shape)])
    out = torch.empty_like(tensor, dtype=to)
    decode(encoded(layout, tensor), layout, [out])
    return out


@given(shapes=shapes, dtype=st.sampled_from(FORMATS))
def test_a_buffer_has_the_bytes_of_the_memory_model(shapes: list[tuple[int, ...]], dtype: Dtype):
    unit = Unit(parameters=tuple(Parameter(name="", shape=shape) for shape in shapes))
    layout = WireLayout.of(dtype, shapes)
    assert layout.num_bytes == unit.buffer_bytes(dtype)
    assert all(piece.start % 256 == 0 for piece in layout.pieces)
    tensors = [torch.ones(shape) for shape in shapes]
    again = [torch.zeros(shape) for shape in shapes]
    decode(encoded(layout, *tensors), layout, again)
    assert all(map(torch.equal, again, tensors))


def test_tensors_start_at_multiples_of_256_and_scales_end_their_piece():
    layout = WireLayout.of(Dtype.FP8, [(3, 5), (252,), (253,), ()])
    places = [(p.start, p.values_end, p.scales_start, p.end) for p in layout.pieces]
    assert places == [
        (0, 15, 244, 256),
        (256, 508, 508, 512),
        (512, 765, 1020, 1024),
        (1024, 1025, 1276, 1280),
    ]


@pytest.mark.parametrize("dtype", [Dtype.FP32, Dtype.FP16, Dtype.BF16])
@given(values=st.lists(st.floats(width=32), min_size=1, max_size=9))
def test_unscaled_formats_round_as_torch_does(dtype: Dtype, values: list[float]):
    tensor = torch.tensor(values, dtype=torch.float32)
    layout = WireLayout.of(dtype, [tuple(tensor.shape)])
    (view,) = views(encoded(layout, tensor), layout)
    expected = tensor.to(TORCH_DTYPES[dtype])
    assert torch.equal(view.view(torch.uint8), expected.view(torch.uint8))
    assert scales(encoded(layout, tensor), layout)[0].numel() == 0


@pytest.mark.parametrize("dtype", [Dtype.FP16, Dtype.BF16, Dtype.FP32])
def test_a_wire_as_wide_as_storage_changes_no_bit(dtype: Dtype):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(TORCH_DTYPES[dtype])
    assert torch.equal(
        there_and_back(dtype, every, to=every.dtype).view(torch.int16), every.view(torch.int16)
    )


def e4m3(code: int) -> float:
    """The value of an e4m3 code, from the format's definition."""
    sign, exponent, mantissa = code >> 7, code >> 3 & 15, code & 7
    size = mantissa / 8 * 2**-6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    return -size if sign else size


FINITE = sorted({e4m3(code) for code in range(256) if code & 127 != 127})


def nearest(value: float) -> set[float]:
    """The e4m3 values nearest to ``value``: two where it is a tie."""
    distance = min(abs(value - x) for x in FINITE)
    return {x for x in FINITE if abs(value - x) == distance}


@given(st.lists(floats, min_size=1, max_size=8))
def test_fp8_is_the_nearest_value_at_the_rows_scale(values: list[float]):
    tensor = torch.tensor([values])
    layout = WireLayout.of(Dtype.FP8, [tuple(tensor.shape)])
    buffer = encoded(layout, tensor)
    (codes,), (scale,) = views(buffer, layout), scales(buffer, layout)
    largest = tensor.abs().amax()
    tiny, huge = torch.finfo(torch.float32).tiny, FLT_MAX / 448
    assert scale.item() == pytest.approx(min(max(largest.item() / 448, tiny), huge), rel=3e-7)
    for code, value in zip(codes[0].float(), (tensor / scale)[0], strict=True):
        assert code.item() in nearest(value.item())


@given(st.lists(floats, min_size=1, max_size=8), st.sampled_from(list(TORCH_DTYPES.values())[:3]))
def test_fp8_makes_no_nan_and_no_infinity_from_what_is_finite(values: list[float], to: torch.dtype):
    tensor = torch.tensor(values).to(to)
    if tensor.isfinite().all():
        assert there_and_back(Dtype.FP8, tensor, to=to).isfinite().all()


@pytest.mark.parametrize("value", [FLT_MAX, -FLT_MAX, 65504.0, 448.0, 1.0, 1e-3, 2.0**-126])
def test_the_largest_of_a_row_survives(value: float):
    row = torch.tensor([value, 0.0, value / 2])
    assert torch.allclose(there_and_back(Dtype.FP8, row), row, rtol=5e-7, atol=0)


def test_zero_rows_and_subnormal_rows_stay_small():
    rows = torch.tensor([[0.0, -0.0], [1e-44, -1e-44], [3.0, 1.5]])
    assert there_and_back(Dtype.FP8, rows).tolist() == [[0, 0], [0, 0], [3, 1.5]]


def test_rows_have_scales_of_their_own_and_a_vector_is_one_row():
    layout = WireLayout.of(Dtype.FP8, [(2, 2, 2), (4,)])
    experts = torch.tensor([[[448.0, 0], [896, 0]], [[0, 224], [0, -448e6]]])
    matrix, vector = scales(encoded(layout, experts, torch.full((4,), 896.0)), layout)
    assert (matrix.tolist(), vector.tolist()) == ([1, 2, 0.5, 1e6], [2])


def test_what_is_not_finite_stays_visible():
    rows = torch.tensor([[math.nan, 1.0], [math.inf, 1.0], [2.0, 1.0]])
    out = there_and_back(Dtype.FP8, rows)
    assert out[0].isnan().all()
    assert out[1, 0].item() == pytest.approx(FLT_MAX)
    assert out[2].tolist() == [2, 1]


def test_rows_are_alike_however_many_are_encoded_at_once():
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(70, 9000, generator=generator)  # more than one round
    together = there_and_back(Dtype.FP8, rows)
    alone = torch.stack([there_and_back(Dtype.FP8, row) for row in rows])
    assert torch.equal(together, alone)
    assert (together - rows).abs().max() < rows.abs().max() / 16


def test_equal_tensors_give_equal_bytes():
    for dtype in FORMATS:
        layout = WireLayout.of(dtype, [(3,), (2, 2), (5, 0)])
        tensors = (torch.ones(3), torch.ones(2, 2), torch.ones(5, 0))
        other = torch.zeros(layout.num_bytes, dtype=torch.uint8)
        encode(tensors, other, layout)
        assert torch.equal(other, encoded(layout, *tensors))


def test_views_write_to_the_buffer():
    layout = WireLayout.of(Dtype.FP16, [(2,), (3,)])
    buffer = encoded(layout, torch.zeros(2), torch.zeros(3))
    views(buffer, layout)[1].fill_(1)
    out = [torch.empty(2), torch.empty(3)]
    decode(buffer, layout, out)
    assert [t.tolist() for t in out] == [[0, 0], [1, 1, 1]]


def test_wrong_buffers_and_tensors_are_refused():
    layout = WireLayout.of(Dtype.FP16, [(2, 3)])
    buffer = torch.empty(256, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"shapes of the layout, \[\(2, 3\)\]; got \[\(3, 2\)\]"):
        encode([torch.ones(3, 2)], buffer, layout)
    with pytest.raises(ValueError, match=r"tensor 0 must be contiguous .* strides \(1, 2\)"):
        encode([torch.ones(3, 2).t()], buffer, layout)
    for wrong in (buffer[:255], torch.empty(512, dtype=torch.uint8)[130:386], buffer.char()):
        with pytest.raises(ValueError, match=r"a buffer must be \(256,\) torch.uint8"):
            views(wrong, layout)


def test_decoding_into_other_shapes_is_refused_as_encoding_is():
    layout = WireLayout.of(Dtype.FP16, [(2, 3)])
    buffer = encoded(layout, torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"shapes of the layout, \[\(2, 3\)\]; got \[\(3, 2\)\]"):
        decode(buffer, layout, [torch.empty(3, 2)])
    with pytest.raises(ValueError, match=r"tensor 0 must be contiguous .* strides \(1, 2\)"):
        decode(buffer, layout, [torch.empty(3, 2).t()])
    with pytest.raises(ValueError, match=r"a buffer must be \(256,\) torch.uint8"):
        decode(buffer[:255], layout, [torch.empty(2, 3)])
    with pytest.raises(ValueError, match=r"a buffer must be \(256,\) torch.uint8"):
        encode([torch.empty(2, 3)], buffer[:255], layout)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", [(), (5,), (3, 0), (2, 3, 4), (70, 9000)])
def test_what_never_moves_is_worth_what_a_wire_would_make_of_it(
    dtype: Dtype, shape: tuple[int, ...]
):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(2)) * 3.0
    out = torch.full_like(tensor, math.nan)
    recode([tensor], dtype, [out])
    assert torch.equal(out, there_and_back(dtype, tensor))
