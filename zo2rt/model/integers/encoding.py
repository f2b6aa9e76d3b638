"""Round to nearest, some rows at a time; on the CPU, so that the bits are those of one device."""

import torch
from torch import Tensor

from zo2rt.model.integers import kernels
from zo2rt.model.integers.decoding import Encoded
from zo2sim.dtypes import Dtype

ELEMENTS_AT_ONCE = 2**18
"""1 MiB of fp32: what encoding holds a few times beside the weights."""
_NOT_FINITE = "weights must be finite to be encoded; got NaN or infinity"


def encode(weights: Tensor, into: Encoded) -> None:
    """Fill ``into`` from weights of its shape, in any float format and on any device.

    Raises ``ValueError`` where a weight is NaN or infinite.
    """
    length = into.shape[-1]
    at_once = max(1, ELEMENTS_AT_ONCE // max(length, 1))
    rows = weights.detach().reshape(-1, length)
    for start in range(0, len(rows), at_once):
        part = slice(start, start + at_once)
        _encode(rows[part].cpu().to(torch.float32).contiguous(), into, part)


def check_finite(weights: Tensor) -> None:
    """Raise what `encode` would of them, before anything is written."""
    if weights.numel() and not all(extreme.isfinite() for extreme in weights.aminmax()):
        raise ValueError(_NOT_FINITE)


def _encode(rows: Tensor, into: Encoded, part: slice) -> None:
    """``rows`` is (rows, row length), fp32."""
    low, high = (torch.empty(into.scales[part].shape) for _ in range(2))
    kernels.extremes(rows.view(torch.int32).numpy(), into.group, low.numpy(), high.numpy())
    if not (low.isfinite().all() and high.isfinite().all()):
        raise ValueError(_NOT_FINITE)
    scales, zeros = _scales_and_zeros(low, high, into)
    into.scales[part] = scales
    if into.zeros is not None:
        into.zeros[part] = zeros.to(torch.uint8)
    codes, exact = into.codes[part].numpy(), scales.to(torch.float32).numpy()
    if into.dtype is Dtype.INT8:
        kernels.to_int8(rows.numpy(), exact, codes.view("int8"))
    else:
        kernels.to_int4(rows.numpy(), exact, zeros.numpy(), into.group, codes)


def _scales_and_zeros(low: Tensor, high: Tensor, into: Encoded) -> tuple[Tensor, Tensor]:
    """Of every group, from its extremes, 0 among them."""
    bits = into.dtype.bits
    if not into.dtype.has_zero_points:
        half = 2 ** (bits - 1)
        scales = _rounded_up(torch.maximum(-low / half, high / (half - 1)), bits, into.scales.dtype)
        return _no_larger(scales, -low, high, half), torch.full_like(low, 8.0)
    scales = _rounded_up((high - low) / 15, bits, into.scales.dtype)
    return scales, (-low / scales.to(torch.float32)).round_().clamp_(0, 15)


def _rounded_up(scales: Tensor, bits: int, dtype: torch.dtype) -> Tensor:
    """The next number of the format that is not smaller, and no subnormal one.

    One of fp32 ends in ``bits`` zeros, which leaves room for the digits of u - z in a product.
    """
    narrow = scales.clamp_(min=torch.finfo(dtype).tiny).to(dtype)
    if dtype is torch.float32:
        last = 2**bits - 1
        narrow.view(torch.int32).add_(last).bitwise_and_(~last)
    else:
        narrow.view(torch.int16).add_((narrow.to(torch.float32) < scales).to(torch.int16))
    return narrow


def _no_larger(scales: Tensor, low: Tensor, high: Tensor, half: int) -> Tensor:
    """The number below, where its largest steps, once rounded, reach as far.

    So weights that were decoded, and rounded, have the scale again that they were decoded with. In
    fp32 they are not rounded.
    """
    if scales.dtype is torch.float32:
        return scales
    below = (scales.view(torch.int16) - 1).view(scales.dtype)
    exact = below.to(torch.float32)
    reaches = (exact * half >= low) & ((exact * (half - 1)).to(scales.dtype) >= high)
    return torch.where(reaches & (below >= torch.finfo(scales.dtype).tiny), below, scales)
