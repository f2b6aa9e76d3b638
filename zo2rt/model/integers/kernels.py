"""The numba kernels: codes to fp32, a group at a time; one core, ``nogil``, no ``fastmath``."""

import numba
import numpy as np

MIDDLE = np.full((1, 1), 8, np.uint8)
"""The zero point of every group of a symmetric four-bit tensor."""

_compiled = numba.njit(nogil=True, cache=True)


@_compiled
def int8(codes, scales, out):
    """out[r, c] = codes[r, c] scales[r, 0]; codes are int8."""
    for r in range(out.shape[0]):
        s = scales[r, 0]
        for c in range(out.shape[1]):
            out[r, c] = np.float32(codes[r, c]) * s


@_compiled
def int4(codes, zeros, scales, group, out):
    """out[r, c] = (u - zeros[r, g]) scales[r, g], u being half c % 2 of byte c // 2 of row r."""
    length = out.shape[1]
    one_zero = zeros.size == 1
    for r in range(out.shape[0]):
        for g in range(scales.shape[1]):
            start = g * group
            z = np.int32(zeros[0, 0] if one_zero else zeros[r, g])
            count = min(group, length - start)
            _pairs(codes[r, start // 2 :], z, scales[r, g], out[r, start : start + count])


@_compiled
def _pairs(codes, z, s, out):
    for i in range(out.size // 2):
        byte = np.int32(codes[i])
        out[2 * i] = np.float32((byte & np.int32(15)) - z) * s
        out[2 * i + 1] = np.float32((byte >> np.int32(4)) - z) * s
    if out.size % 2:
        out[out.size - 1] = np.float32((np.int32(codes[out.size // 2]) & np.int32(15)) - z) * s
