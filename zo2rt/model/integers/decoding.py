"""One tensor in an integer format, and its weights: numba on the CPU, Triton on an accelerator."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from zo2rt.model.integers import kernels
from zo2sim.dtypes import Dtype

_ELEMENTS_AT_ONCE = 2**16  # 256 KiB of fp32 stay near a core until they are rounded


@dataclass(frozen=True, slots=True)
class Encoded:
    """Where a tensor's codes, zero points and scales lie; nothing is copied.

    ``codes`` is (rows, bytes of a row) and ``zeros`` (rows, groups), both uint8; ``scales`` is
    (rows, groups). ``group`` weights along a row share a scale.
    """

    dtype: Dtype
    shape: tuple[int, ...]
    group: int
    codes: Tensor
    zeros: Tensor | None
    scales: Tensor

    def decode(self, out: Tensor) -> None:
        """Fill ``out``, contiguous and on the same device, with the weights in its own format."""
        rows = out.view(-1, self.shape[-1])
        if not rows.numel():
            return
        if out.device.type == "cpu":
            _on_cpu(self, rows)
        else:
            _accelerator(out.device).decode(self, rows)


def _on_cpu(encoded: Encoded, out: Tensor) -> None:
    at_once = max(1, _ELEMENTS_AT_ONCE // out.shape[1])
    scales = encoded.scales.to(torch.float32)
    exact = out if out.dtype is torch.float32 else torch.empty(min(at_once, len(out)), out.shape[1])
    for start in range(0, len(out), at_once):
        part = slice(start, min(start + at_once, len(out)))
        weights = exact[part] if exact is out else exact[: part.stop - start]
        _decode(encoded, part, scales[part], weights)
        if exact is not out:
            out[part].copy_(weights)


def _decode(encoded: Encoded, part: slice, scales: Tensor, out: Tensor) -> None:
    codes = encoded.codes[part].numpy()
    if encoded.dtype is Dtype.INT8:
        kernels.int8(codes.view("int8"), scales.numpy(), out.numpy())
        return
    zeros = kernels.MIDDLE if encoded.zeros is None else encoded.zeros[part].numpy()
    kernels.int4(codes, zeros, scales.numpy(), encoded.group, out.numpy())


def _accelerator(device: torch.device) -> Any:
    try:
        return import_module("zo2rt.model.integers.accelerator")
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise RuntimeError(
            f"weights in an integer format on {device} need the package 'triton', which is not "
            "installed here: install it, or use a float storage_dtype"
        ) from error
