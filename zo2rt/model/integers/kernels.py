"""The numba kernels: fp32 to codes and back, a group at a time; one core each, ``nogil``.

No ``fastmath``: a division would become a product.
"""

import numba
import numpy as np

MIDDLE = np.full((1, 1), 8, np.uint8)
"""The zero point of every group of a symmetric four-bit tensor."""

_MAGNITUDE = np.int32(0x7FFFFFFF)
_INFINITY = np.int32(0x7F800000)

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
    """out[r, c] = (u - zeros[r, g]) scales[r, g], u being half c % 2 of byte c // 2 of row r.

    Both halves of a group's bytes are decoded before they are put between each other: a core does
    many at a time so, in a third of the time of weight after weight.
    """
    length = out.shape[1]
    one_zero = zeros.size == 1
    low, high = np.empty(group // 2, np.float32), np.empty(group // 2, np.float32)
    for r in range(out.shape[0]):
        for g in range(scales.shape[1]):
            start, s = g * group, scales[r, g]
            z = np.int32(zeros[0, 0] if one_zero else zeros[r, g])
            part = out[r, start : start + group]
            count = part.size // 2
            halves = codes[r, start // 2 : start // 2 + count]
            for i in range(count):
                low[i] = np.float32(np.int32(halves[i] & np.uint8(15)) - z) * s
                high[i] = np.float32(np.int32(halves[i] >> np.uint8(4)) - z) * s
            for i in range(count):
                part[2 * i] = low[i]
                part[2 * i + 1] = high[i]
            if part.size % 2:
                last = np.int32(codes[r, length // 2] & np.uint8(15))
                part[2 * count] = np.float32(last - z) * s


@_compiled
def extremes(rows, group, low, high):
    """Least and largest weight of every group, 0 among them; both NaN where one is not finite.

    ``rows`` are the bits of fp32 as int32. They are compared as whole numbers in the order of what
    they stand for, because a core compares those side by side.
    """
    for r in range(rows.shape[0]):
        for g in range(low.shape[1]):
            least, largest, size = np.int32(0), np.int32(0), np.int32(0)
            for bits in rows[r, g * group : (g + 1) * group]:
                magnitude = bits & _MAGNITUDE
                ordered = magnitude if bits >= 0 else -magnitude
                least, largest = min(least, ordered), max(largest, ordered)
                size = max(size, magnitude)
            finite = size < _INFINITY
            low[r, g] = -_value(-least) if finite else np.nan
            high[r, g] = _value(largest) if finite else np.nan


@_compiled
def _value(bits):
    return np.int32(bits).view(np.float32)


@_compiled
def to_int8(rows, scales, codes):
    """codes[r, c] = rn(rows[r, c] / scales[r, 0])."""
    for r in range(rows.shape[0]):
        s = scales[r, 0]
        for c in range(rows.shape[1]):
            steps = np.rint(rows[r, c] / s)
            codes[r, c] = np.int8(min(max(steps, np.float32(-128)), np.float32(127)))


@_compiled
def to_int4(rows, scales, zeros, group, codes):
    """Halves of bytes: rn(rows[r, c] / scales[r, g]) + zeros[r, g]; zeros are fp32."""
    halves = np.zeros(group + 1, np.int32)
    for r in range(rows.shape[0]):
        for g in range(scales.shape[1]):
            part = rows[r, g * group : (g + 1) * group]
            _steps(part, scales[r, g], zeros[r, g], halves)
            start = g * group // 2
            for i in range((part.size + 1) // 2):
                codes[r, start + i] = np.uint8(halves[2 * i] | (halves[2 * i + 1] << np.int32(4)))


@_compiled
def _steps(part, s, z, halves):
    for i in range(part.size):
        steps = np.rint(part[i] / s) + z
        halves[i] = np.int32(min(max(steps, np.float32(0)), np.float32(15)))
    halves[part.size] = 0
