"""On an accelerator: launches of the Triton kernels on its current stream, waiting for nothing.

Import this module only where triton is installed. The contract is that of
`zo2rt.noise.devices.Prepared`.
"""

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zo2rt.noise import triton_kernels
from zo2rt.noise.buffers import format_of
from zo2rt.noise.extent import Distribution, Extent, check_kind
from zo2rt.noise.table import quantiles
from zo2rt.noise.updates import Updates

_PERTURB = {1: triton_kernels.perturb, 2: triton_kernels.perturb_pair}


class Operands(NamedTuple):
    """What the kernels take of buffers and their place."""

    buffers: tuple[Tensor, ...]
    place: Extent
    kind: Distribution


def operands(buffers: Sequence[Tensor], place: Extent, kind: Distribution) -> Operands:
    """The buffers in the types that kernels know, and what their noise depends on beside a key."""
    check_kind(kind)
    for buffer in buffers:
        format_of(buffer)
    return Operands(tuple(buffers), place, kind)


def perturb(taken: Operands, *, key: int, coefficient: float) -> None:
    """W+ alone, or W+ and W- with one draw, from theta, which comes last."""
    _launch(_PERTURB[len(taken.buffers) - 1], taken, key, float(coefficient))


def update(taken: Operands, updates: Updates, *, stochastic_rounding: bool = False) -> None:
    """Every update in one pass over theta."""
    (theta,) = taken.buffers
    arrays = _on_device(updates, theta.device)
    rounding = stochastic_rounding and theta.dtype != torch.float32
    _launch(triton_kernels.update, taken, *arrays, updates.ends.size, ROUNDING=rounding)


def _launch(kernel: Any, taken: Operands, *arguments: object, **constants: bool) -> None:
    place, theta = taken.place, taken.buffers[-1]
    if theta.numel():
        with torch.accelerator.device_index(theta.device.index):
            kernel[triton_kernels.grid(place.first_element, theta.numel())](
                *map(_raw, taken.buffers),
                _table(theta.device),
                *arguments,
                place.first_element,
                place.p,
                theta.numel(),
                float(place.threshold),
                GAUSSIAN=taken.kind == "gaussian",
                SPARSE=math.isfinite(place.threshold),
                **triton_kernels.COMPILE_OPTIONS,
                **constants,
            )


def _raw(weights: Tensor) -> Tensor:
    return weights.view(torch.int16) if weights.dtype == torch.bfloat16 else weights


@cache
def _table(device: torch.device) -> Tensor:
    """T, 256 KiB; on the device before the call returns, so every stream may read it."""
    return torch.from_numpy(quantiles().copy()).to(device)


def _on_device(updates: Updates, device: torch.device) -> tuple[Tensor, ...]:
    """The arrays, copied once per step and group of parameters, not once per parameter."""
    stream = None if device.type == "cpu" else torch.accelerator.current_stream(device)
    return _copied(tuple(array.tobytes() for array in updates), device, stream)


_DTYPES = (torch.int64, torch.float32, torch.int32, torch.float32)
"""Those of `Updates`; a key's 64 bits travel as int64."""


@lru_cache(maxsize=64)
def _copied(
    contents: tuple[bytes, ...], device: torch.device, stream: torch.Stream | None
) -> tuple[Tensor, ...]:
    """Tensors for launches on ``stream``, the device's current one.

    Told apart by their bytes: updates with g = 0 and g = -0 are equal, but change other signs.
    """
    pairs = zip(contents, _DTYPES, strict=True)
    arrays = [torch.frombuffer(bytearray(content), dtype=dtype) for content, dtype in pairs]
    if stream is None:
        return tuple(arrays)
    # From pageable memory the copy would make the host wait for the stream.
    return tuple(array.pin_memory().to(device, non_blocking=True) for array in arrays)
