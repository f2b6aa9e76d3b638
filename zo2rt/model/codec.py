"""Wire codecs: the tensors of a unit into one flat byte buffer, and back.

Where they lie in it is told by `zo2rt.model.layout`. fp8 is e4m3 (Micikevicius et al.,
arXiv:2209.05433: largest value 448, no infinity) with one fp32 scale per row. A row is all but the
last dimension's index; a vector is one row. Integer formats are those of `zo2rt.model.integers`; a
unit in one of them has tensors in a float format, too.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zo2rt.model import integers
from zo2rt.model.integers import Encoded
from zo2rt.model.layout import Piece, WireLayout, piece_of
from zo2sim.dtypes import Dtype, TensorFormat

TORCH_DTYPES = {
    Dtype.FP32: torch.float32,
    Dtype.FP16: torch.float16,
    Dtype.BF16: torch.bfloat16,
    Dtype.FP8: torch.float8_e4m3fn,
}

_VIEW_GRAIN_BYTES = 4  # PyTorch views no fp32 at other offsets; backends align the address
_FP8_MAX = 448.0
_SCALE_MIN = torch.finfo(torch.float32).tiny
_SCALE_MAX = torch.finfo(torch.float32).max / _FP8_MAX  # in fp32 too, 448 of it stay finite
_ELEMENTS_AT_ONCE = 2**18  # 1 MiB of fp32: what encoding fp8 holds beside the buffer


def encode(tensors: Sequence[Tensor], buffer: Tensor, layout: WireLayout) -> None:
    """Fill ``buffer`` (num_bytes, uint8) on the tensors' device; gaps become zero.

    fp32, fp16 and bf16 round to nearest even, as ``Tensor.to`` does: what is too large becomes
    infinite. fp8 scales the largest magnitude of each row to 448 and saturates, so finite rows
    stay finite; a NaN makes its row NaN. Equal tensors give equal bytes.
    """
    _check(tensors, buffer, layout)
    for tensor, piece in zip(tensors, layout.pieces, strict=True):
        write(tensor, buffer, piece)


def write(tensor: Tensor, buffer: Tensor, piece: Piece) -> None:
    """Fill one tensor's piece; it may be on another device, unless the format is fp8."""
    buffer[piece.values_end : piece.end].zero_()
    if piece.dtype.is_integer:
        _write_integers(tensor, buffer, piece)
    elif piece.dtype is not Dtype.FP8:
        view(buffer, piece).copy_(tensor)
    elif tensor.numel():
        _encode_fp8(_rows(tensor), _rows(view(buffer, piece)), _scales(buffer, piece))


def decode(buffer: Tensor, layout: WireLayout, tensors: Sequence[Tensor]) -> None:
    """Fill ``tensors``, of any float format, from ``buffer``, on one device.

    fp8 values are multiplied by their row's scale in fp32, then rounded to the tensor's format.
    """
    _check(tensors, buffer, layout)
    for tensor, piece in zip(tensors, layout.pieces, strict=True):
        if piece.dtype.is_integer:
            encoded(buffer, piece).decode(tensor)
        elif piece.dtype is not Dtype.FP8:
            tensor.copy_(view(buffer, piece))
        elif tensor.numel():
            _decode_fp8(_rows(view(buffer, piece)), _scales(buffer, piece), _rows(tensor))


def encoded(buffer: Tensor, piece: Piece) -> Encoded:
    """A tensor in an integer format, where it lies."""
    form, scales = piece.form, _scales(buffer, piece)
    zeros = buffer[piece.scales_start - form.zeros_bytes(piece.shape) : piece.scales_start]
    return Encoded(
        dtype=form.dtype,
        shape=piece.shape,
        group=form.group(piece.shape),
        codes=view(buffer, piece),
        zeros=zeros.view(scales.shape) if form.dtype.has_zero_points else None,
        scales=scales,
    )


def scales_of(tensor: Tensor, form: TensorFormat) -> Tensor:
    """The scales that an integer format gives a tensor, (rows, groups), where the tensor is."""
    layout = WireLayout.mixed([(form, tuple(tensor.shape))])
    buffer = torch.empty(layout.num_bytes, dtype=torch.uint8, device=tensor.device)
    encode([tensor.contiguous()], buffer, layout)
    return encoded(buffer, layout.pieces[0]).scales.clone()


def recode(tensors: Sequence[Tensor], dtype: Dtype, out: Sequence[Tensor]) -> None:
    """``out``, of any float format, as if the tensors had been encoded and decoded again.

    Holds no encoded buffer: what a block that never moves is worth on a wire of this format.
    """
    for tensor, target in zip(tensors, out, strict=True):
        if dtype is not Dtype.FP8:
            for part, to in zip(_parts(tensor), _parts(target), strict=True):
                to.copy_(part.to(TORCH_DTYPES[dtype]))
        elif tensor.numel():
            _recode_fp8(_rows(tensor), _rows(target))


def views(buffer: Tensor, layout: WireLayout) -> tuple[Tensor, ...]:
    """The tensors of an unscaled buffer without a copy: writing to them writes to the buffer.

    Of fp8 these are the values before they are scaled, of integer formats (rows, bytes of a row).
    """
    _check_buffer(buffer, layout)
    return tuple(view(buffer, piece) for piece in layout.pieces)


def view(buffer: Tensor, piece: Piece) -> Tensor:
    """One of `views`."""
    values = buffer[piece.start : piece.values_end]
    if piece.dtype.is_integer:
        return values.view(piece.form.rows(piece.shape), piece.form.row_bytes(piece.shape))
    return values.view(TORCH_DTYPES[piece.dtype]).view(piece.shape)


def _scales(buffer: Tensor, piece: Piece) -> Tensor:
    stored = buffer[piece.scales_start : piece.end]
    if piece.dtype.is_integer:
        scales, form = stored.view(TORCH_DTYPES[piece.form.scale]), piece.form
        return scales.view(form.rows(piece.shape), form.row_groups(piece.shape))
    return stored.view(torch.float32)


def _write_integers(tensor: Tensor, buffer: Tensor, piece: Piece) -> None:
    """By way of the host where the buffer is elsewhere: one device's bits, a tensor at a time."""
    if buffer.device.type == "cpu":
        integers.encode(tensor, encoded(buffer, piece))
        return
    own = piece_of(piece.form, piece.shape, 0)
    staged = torch.zeros(own.end, dtype=torch.uint8)
    integers.encode(tensor, encoded(staged, own))
    buffer[piece.start : piece.end].copy_(staged)


def _rows(tensor: Tensor) -> Tensor:
    """(rows, row length), without a copy."""
    return tensor.view(-1, tensor.shape[-1]) if tensor.dim() else tensor.view(1, 1)


def _encode_fp8(source: Tensor, values: Tensor, row_scales: Tensor) -> None:
    at_once = max(1, _ELEMENTS_AT_ONCE // source.shape[1])
    parts = (source.split(at_once), values.split(at_once), row_scales.split(at_once))
    for rows, out, scale in zip(*parts, strict=True):
        exact = rows.to(torch.float32)
        torch.amax(exact.abs(), dim=1, out=scale)
        scale.div_(_FP8_MAX).clamp_(_SCALE_MIN, _SCALE_MAX)
        # Not every version of torch saturates: the cast alone may make NaN of what is too large.
        out.copy_((exact / scale[:, None]).clamp_(-_FP8_MAX, _FP8_MAX))


def _decode_fp8(values: Tensor, row_scales: Tensor, out: Tensor) -> None:
    at_once = max(1, _ELEMENTS_AT_ONCE // values.shape[1])
    parts = (values.split(at_once), row_scales.split(at_once), out.split(at_once))
    for rows, scale, target in zip(*parts, strict=True):
        target.copy_(rows.to(torch.float32).mul_(scale[:, None]))


def _recode_fp8(source: Tensor, out: Tensor) -> None:
    at_once = max(1, _ELEMENTS_AT_ONCE // source.shape[1])
    for rows, target in zip(source.split(at_once), out.split(at_once), strict=True):
        values = torch.empty_like(rows, dtype=TORCH_DTYPES[Dtype.FP8])
        scale = torch.empty(len(rows), dtype=torch.float32, device=rows.device)
        _encode_fp8(rows, values, scale)
        _decode_fp8(values, scale, target)


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    return tensor.view(-1).split(_ELEMENTS_AT_ONCE)


def _check(tensors: Sequence[Tensor], buffer: Tensor, layout: WireLayout) -> None:
    _check_buffer(buffer, layout)
    shapes = [tuple(tensor.shape) for tensor in tensors]
    expected = [piece.shape for piece in layout.pieces]
    if shapes != expected:
        raise ValueError(f"tensors must have the shapes of the layout, {expected}; got {shapes}")
    for number, tensor in enumerate(tensors):
        if tensor.device != buffer.device or not tensor.is_contiguous():
            raise ValueError(
                f"tensor {number} must be contiguous and on {buffer.device}, as the buffer is; "
                f"it has strides {tensor.stride()} on {tensor.device}; copy it first"
            )


def _check_buffer(buffer: Tensor, layout: WireLayout) -> None:
    flat = buffer.dtype is torch.uint8 and buffer.dim() == 1 and buffer.is_contiguous()
    if (
        not flat
        or buffer.numel() != layout.num_bytes
        or buffer.storage_offset() % _VIEW_GRAIN_BYTES
    ):
        raise ValueError(
            f"a buffer must be ({layout.num_bytes},) torch.uint8, contiguous, at a multiple of "
            f"{_VIEW_GRAIN_BYTES} bytes in its storage; got {tuple(buffer.shape)} {buffer.dtype} "
            f"at {buffer.storage_offset()}"
        )
