"""Flat views of weights as raw bits: torch tensors and numpy arrays, the same memory."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zo2sim.dtypes import Dtype

Buffer = torch.Tensor | NDArray[Any]
"""A contiguous tensor (fp32, fp16, bf16) or array (float32, float16; uint16 means bf16)."""

_TORCH = {torch.float32: Dtype.FP32, torch.float16: Dtype.FP16, torch.bfloat16: Dtype.BF16}
_NUMPY = {"float32": Dtype.FP32, "float16": Dtype.FP16, "uint16": Dtype.BF16}
_INTEGERS = {4: torch.int32, 2: torch.int16}


def format_of(buffer: Buffer) -> Dtype:
    """The format of the weights that a buffer holds; one that holds none is refused."""
    if isinstance(buffer, torch.Tensor):
        dtype, usable = _TORCH.get(buffer.dtype), buffer.is_contiguous() and not buffer.is_meta
    else:
        dtype, usable = _NUMPY.get(buffer.dtype.name), buffer.flags.c_contiguous
    if dtype is None or not usable:
        raise ValueError(
            "a buffer must be contiguous, in memory, and fp32, fp16 or bf16 (in numpy: float32, "
            f"float16, or uint16 for bf16); got {_describe(buffer)}"
        )
    return dtype


def bits(buffer: Buffer) -> tuple[NDArray[Any], Dtype]:
    """A buffer on the CPU as flat uint32 or uint16, sharing its memory, and its format."""
    dtype = format_of(buffer)
    if isinstance(buffer, torch.Tensor):
        buffer = buffer.detach().view(_INTEGERS[dtype.bytes]).numpy()
    return buffer.reshape(-1).view(np.uint32 if dtype is Dtype.FP32 else np.uint16), dtype


def flat(buffer: Buffer) -> Buffer:
    """The buffer in one dimension, of the same type, sharing its memory."""
    format_of(buffer)  # refuses what could only be flattened by a copy
    return buffer.reshape(-1)


def device_of(*buffers: Buffer) -> torch.device:
    """The one device that all of the buffers are on; arrays are on the CPU."""
    devices = {b.device if isinstance(b, torch.Tensor) else torch.device("cpu") for b in buffers}
    if len(devices) != 1:
        raise ValueError(
            f"buffers must be on one device; got {', '.join(sorted(map(str, devices)))}"
        )
    return devices.pop()


def check_equal_lengths(*buffers: Buffer) -> int:
    """The number of elements of every buffer."""
    lengths = {b.numel() if isinstance(b, torch.Tensor) else b.size for b in buffers}
    if len(lengths) != 1:
        raise ValueError(f"buffers must have equally many elements; got {sorted(lengths)}")
    return lengths.pop()


def _describe(buffer: Buffer) -> str:
    if isinstance(buffer, torch.Tensor):
        where, layout = buffer.device, f"strides {tuple(buffer.stride())}"
    else:
        where, layout = "numpy", f"strides {buffer.strides} bytes"
    return f"{buffer.dtype} on {where}, shape {tuple(buffer.shape)}, {layout}"
