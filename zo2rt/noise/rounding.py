"""Storage formats in numpy: fp32 values to fp16 and bf16 and back, to nearest or stochastically.

bf16 has no numpy type; it is stored as uint16, the high half of the fp32.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zo2sim.dtypes import Dtype

Values = NDArray[np.float32]

_MANTISSA_BITS = {Dtype.FP16: 10, Dtype.BF16: 7}
_SMALLEST_EXPONENT = {Dtype.FP16: -14, Dtype.BF16: -126}


def widen(stored: NDArray[Any], dtype: Dtype) -> Values:
    """The stored numbers as fp32; exact."""
    if dtype is Dtype.BF16:
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return stored.astype(np.float32)


def narrow(values: Values, dtype: Dtype) -> NDArray[Any]:
    """fp32 rounded to nearest even: float32, float16, or bf16 as uint16."""
    if dtype is Dtype.FP32:
        return values.copy()
    if dtype is Dtype.FP16:
        with np.errstate(over="ignore"):
            return values.astype(np.float16)
    bits = values.view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def nearest(values: Values, dtype: Dtype) -> Values:
    """fp32 rounded to the format's grid, to nearest even, and still fp32."""
    return widen(narrow(values, dtype), dtype)


def stochastic(values: Values, draws: NDArray[np.uint16], dtype: Dtype) -> Values:
    """fp32 rounded to the format's grid by 16-bit draws, in exact float64 arithmetic."""
    if dtype is Dtype.FP32:
        return values
    finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
    exponent = np.maximum(np.frexp(finite)[1] - 1, _SMALLEST_EXPONENT[dtype])
    step = np.ldexp(1.0, exponent - _MANTISSA_BITS[dtype])
    points = np.abs(finite) / step
    cut = np.floor(points)
    up = (points - cut) * 65536 + draws >= 65536
    with np.errstate(over="ignore"):
        rounded = np.copysign((cut + up) * step, finite).astype(np.float32)
    return nearest(np.where(np.isfinite(values), rounded, values), dtype)
