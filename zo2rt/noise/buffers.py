"""Flat views of weights as raw bits: torch tensors and numpy arrays, the same memory."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zo2sim.dtypes import Dtype

Buffer = torch.Tensor | NDArray[Any]
"""A contiguous CPU tensor (fp32, fp16, bf16) or array (float32, float16; uint16 means bf16)."""

_TORCH = {torch.float32: Dtype.FP32, torch.float16: Dtype.FP16, torch.bfloat16: Dtype.BF16}
_NUMPY = {"float32": Dtype.FP32, "float16": Dtype.FP16, "uint16": Dtype.BF16}
_INTEGERS = {4: torch.int32, 2: torch.int16}


def bits(buffer: Buffer) -> tuple[NDArray[Any], Dtype]:
    """The buffer as flat uint32 or uint16, sharing its memory, and the format it holds."""
    if isinstance(buffer, torch.Tensor):
        dtype = _TORCH.get(buffer.dtype)
        usable = buffer.device.type == "cpu" and buffer.is_contiguous()
        array = buffer.detach().view(_INTEGERS[dtype.bytes]).numpy() if dtype and usable else None
    else:
        dtype = _NUMPY.get(buffer.dtype.name)
        array = buffer if buffer.flags.c_contiguous else None
    if dtype is None or array is None:
        raise ValueError(
            "a buffer must be contiguous, on the CPU, and fp32, fp16 or bf16 (in numpy: float32, "
            f"float16, or uint16 for bf16); got {_describe(buffer)}"
        )
    return array.reshape(-1).view(np.uint32 if dtype is Dtype.FP32 else np.uint16), dtype


def flat(buffer: Buffer) -> Buffer:
    """The buffer in one dimension, of the same type, sharing its memory."""
    bits(buffer)  # refuses what could only be flattened by a copy
    return buffer.reshape(-1)


def check_equal_lengths(*buffers: Buffer) -> int:
    """The number of elements of every buffer."""
    lengths = {int(np.prod(buffer.shape)) for buffer in buffers}
    if len(lengths) != 1:
        raise ValueError(f"buffers must have equally many elements; got {sorted(lengths)}")
    return lengths.pop()


def _describe(buffer: Buffer) -> str:
    if isinstance(buffer, torch.Tensor):
        where, layout = buffer.device, f"strides {tuple(buffer.stride())}"
    else:
        where, layout = "numpy", f"strides {buffer.strides} bytes"
    return f"{buffer.dtype} on {where}, shape {tuple(buffer.shape)}, {layout}"
