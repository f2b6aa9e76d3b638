"""On an accelerator: launches on its current stream, waiting for nothing.

Import this module only where triton is installed.
"""

from typing import Any

import torch
from torch import Tensor

from zo2rt.model.integers import triton_kernels
from zo2rt.model.integers.decoding import Encoded
from zo2sim.dtypes import Dtype


def decode(encoded: Encoded, out: Tensor) -> None:
    """Fill ``out``, (rows, row length)."""
    with torch.accelerator.device_index(out.device.index):
        launch(encoded, out)


def launch(encoded: Encoded, out: Tensor) -> None:
    """On the device that is current."""
    kernel: Any = triton_kernels.decode
    kernel[triton_kernels.grid(*out.shape)](
        _raw(out),
        encoded.codes,
        encoded.codes if encoded.zeros is None else encoded.zeros,
        _raw(encoded.scales),
        out.shape[1],
        encoded.codes.shape[1],
        encoded.scales.shape[1],
        encoded.group,
        FOUR_BITS=encoded.dtype is not Dtype.INT8,
        ZEROS=encoded.zeros is not None,
        **triton_kernels.COMPILE_OPTIONS,
    )


def _raw(weights: Tensor) -> Tensor:
    return weights.view(torch.int16) if weights.dtype == torch.bfloat16 else weights
