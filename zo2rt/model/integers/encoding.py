"""Round to nearest, some rows at a time; on the CPU, so that the bits are those of one device."""

import torch
from torch import Tensor
from torch.nn import functional

from zo2rt.model.integers.decoding import Encoded
from zo2sim.dtypes import Dtype

ELEMENTS_AT_ONCE = 2**18
"""1 MiB of fp32: what encoding holds a few times beside the weights."""


def encode(weights: Tensor, into: Encoded) -> None:
    """Fill ``into`` from weights of its shape, in any float format and on any device.

    Raises ``ValueError`` where a weight is NaN or infinite.
    """
    length = into.shape[-1]
    at_once = max(1, ELEMENTS_AT_ONCE // max(length, 1))
    rows = weights.detach().reshape(-1, length)
    for start in range(0, len(rows), at_once):
        part = slice(start, start + at_once)
        _encode(rows[part].cpu().to(torch.float32), into, part)


def _encode(rows: Tensor, into: Encoded, part: slice) -> None:
    """``rows`` is (rows, row length), fp32."""
    if not rows.isfinite().all():
        raise ValueError("weights must be finite to be encoded; got NaN or infinity")
    groups = _grouped(rows, into.group)  # (rows, groups, group)
    scales, zeros = _scales_and_zeros(groups, into)
    steps = (groups / scales.to(torch.float32)[..., None]).round_()
    low, high = (-128, 127) if into.dtype is Dtype.INT8 else (0, 15)
    codes = steps.add_(zeros[..., None]).clamp_(low, high).view(len(rows), -1)
    into.scales[part] = scales
    if into.zeros is not None:
        into.zeros[part] = zeros.to(torch.uint8)
    into.codes[part] = _packed(codes[:, : rows.shape[1]], into.dtype)


def _grouped(rows: Tensor, group: int) -> Tensor:
    """What a row's last group lacks is 0, which changes no extreme of a group."""
    return functional.pad(rows, (0, -rows.shape[1] % group)).view(len(rows), -1, group)


def _scales_and_zeros(groups: Tensor, into: Encoded) -> tuple[Tensor, Tensor]:
    if not into.dtype.has_zero_points:
        largest = groups.abs().amax(dim=2)
        scales = _rounded_up(largest / ((2**into.dtype.bits - 1) / 2), into.scales.dtype)
        return scales, torch.full_like(largest, 0.0 if into.dtype is Dtype.INT8 else 8.0)
    low, high = groups.amin(dim=2).clamp_(max=0), groups.amax(dim=2).clamp_(min=0)
    scales = _rounded_up((high - low) / 15, into.scales.dtype)
    return scales, (-low / scales.to(torch.float32)).round_().clamp_(0, 15)


def _rounded_up(scales: Tensor, dtype: torch.dtype) -> Tensor:
    """The next number of the format that is not smaller, and no subnormal one."""
    narrow = scales.clamp_(min=torch.finfo(dtype).tiny).to(dtype)
    if dtype is not torch.float32:
        narrow.view(torch.int16).add_((narrow.to(torch.float32) < scales).to(torch.int16))
    return narrow


def _packed(codes: Tensor, dtype: Dtype) -> Tensor:
    """(rows, row length) of whole numbers as bytes of `Encoded.codes`."""
    if dtype is Dtype.INT8:
        return codes.to(torch.int8).view(torch.uint8)
    pairs = functional.pad(codes.to(torch.uint8), (0, codes.shape[1] % 2)).view(len(codes), -1, 2)
    return pairs[..., 0] | (pairs[..., 1] << 4)
