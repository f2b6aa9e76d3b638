"""The numba kernels: noise made and used in tiles of 8 KiB; z of a whole tensor never exists.

One core each, ``nogil``; `zo2rt.noise.threads` splits ranges. Everything compiled is in this file,
because numba's cache looks at the date of the caller's file only. Integers are uint64 throughout,
since uint64 with int64 makes float64 in numba, and 32-bit words in 64-bit lanes are what LLVM turns
into vector multiplications. No ``fastmath``: it would fuse products and sums.

Weights are passed as raw bits; `zo2rt.noise.cpu` is the typed front.
"""

from typing import Any, NamedTuple

import numba
import numpy as np

FP32, FP16, BF16 = 0, 1, 2
"""Codes of the storage formats."""

_TILE = 2048  # elements; z, x and the words of a tile stay in a 32 KiB cache
_SLACK = 128  # a tile may begin and end within a call
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_INFINITY = np.uint32(0x7F800000)
_FP16_NORMAL = np.uint32(0x38800000)  # 2^-14, the smallest normal number
_FP16_PAST = np.uint32(0x47800000)  # 2^16, where infinity stands on fp16's grid
_NOTHING = np.float32(-0.0)  # -0 + v is v for every v: a sum that starts here starts as its first
_BIT = np.uint32(1) << np.arange(32, dtype=np.uint32)

_compiled = numba.njit(nogil=True, cache=True)


class Stored(NamedTuple):
    """Weights of one format."""

    bits: Any  # flat uint32 (fp32) or uint16 (fp16, bf16)
    code: int


class Source(NamedTuple):
    """What z depends on, the key apart, and which weights take it."""

    first: Any  # uint64: address of the first weight
    p: Any  # uint64
    table: Any  # T, fp32
    gaussian: bool
    threshold: Any  # fp32: larger weights stay as they are


class _Span(NamedTuple):
    at: Any  # uint64: address of the first element
    size: int


class _Scratch(NamedTuple):
    z: Any  # fp32
    words: Any  # uint32, (4, calls)


@_compiled
def perturb(out, theta, source, key, c):
    """out = rn(theta + c z)."""
    x, kept, scratch = np.empty(_TILE, np.float32), np.empty(_TILE, np.float32), _new_scratch()
    streams = _streams(out, theta, source)
    for start in range(0, theta.bits.size, _TILE):
        span = _span(source, start, theta.bits.size)
        stop = start + span.size
        if streams:
            offset = _draw(scratch.words, span, key, source.p, np.uint64(0), 128)
            _stream(out.bits[start:stop], theta.bits[start:stop], c, scratch.words, offset, source)
            continue
        _load(x, theta.bits[start:stop], theta.code)
        _remember(kept, x, source)
        _add_noise(x, c, scratch, span, key, source)
        _keep_large(x, kept, source)
        _store(out.bits[start:stop], x, out.code)


@_compiled
def perturb_pair(plus, minus, theta, source, key, c):
    """plus = rn(theta + c z) and minus = rn(theta - c z), with z drawn once."""
    x, product = np.empty(_TILE, np.float32), np.empty(_TILE, np.float32)
    kept, scratch = np.empty(_TILE, np.float32), _new_scratch()
    streams = _streams(plus, theta, source) and _streams(minus, theta, source)
    for start in range(0, theta.bits.size, _TILE):
        span = _span(source, start, theta.bits.size)
        stop = start + span.size
        if streams:
            offset = _draw(scratch.words, span, key, source.p, np.uint64(0), 128)
            _stream(plus.bits[start:stop], theta.bits[start:stop], c, scratch.words, offset, source)
            _stream(
                minus.bits[start:stop], theta.bits[start:stop], -c, scratch.words, offset, source
            )
            continue
        _load(x, theta.bits[start:stop], theta.code)
        product[:] = _NOTHING
        _add_noise(product, c, scratch, span, key, source)
        _remember(kept, x, source)
        _add_and_subtract(x, product, span.size)
        _keep_large(x, kept, source)
        _keep_large(product, kept, source)
        _store(plus.bits[start:stop], x, plus.code)
        _store(minus.bits[start:stop], product, minus.code)


@_compiled
def update(theta, source, updates, stochastic):
    """theta = rn(theta d - s) for each in turn."""
    x, s, draws = np.empty(_TILE, np.float32), np.empty(_TILE, np.float32), _new_scratch().z
    kept, scratch = np.empty(_TILE, np.float32), _new_scratch()
    for start in range(0, theta.bits.size, _TILE):
        span = _span(source, start, theta.bits.size)
        piece = theta.bits[start : start + span.size]
        _load(x, piece, theta.code)
        begin = 0
        for r in range(updates.ends.size):
            end = updates.ends[r]
            _remember(kept, x, source)
            s[:] = _NOTHING
            for i in range(begin, end):
                _add_noise(s, updates.coefficients[i], scratch, span, updates.keys[i], source)
            _decay_and_subtract(x, updates.decays[r], s, span.size)
            if stochastic and theta.code != FP32:
                offset = _draw(scratch.words, span, updates.keys[begin], source.p, np.uint64(1), 8)
                _spread_halves(draws, scratch.words, offset + span.size)
                _round_stochastically(x, draws[offset:], span.size, theta.code)
            else:
                _round(x, span.size, theta.code)
            _keep_large(x, kept, source)
            begin = end
        _store(piece, x, theta.code)


@_compiled
def _new_scratch():
    calls = (_TILE + _SLACK) // 8
    return _Scratch(np.empty(_TILE + _SLACK, np.float32), np.empty((4, calls), np.uint32))


@_compiled
def _span(source, start, size):
    return _Span(source.first + np.uint64(start), min(_TILE, size - start))


@_compiled
def _add_noise(x, c, scratch, span, key, source):
    """x += c z for the elements of the span."""
    z, words = scratch
    if source.gaussian:
        offset = _draw(words, span, key, source.p, np.uint64(0), 8)
        _look_up(z, words, offset + span.size, source.table)
        _add(x, c, z[offset : offset + span.size])
    else:
        offset = _draw(words, span, key, source.p, np.uint64(0), 128)
        _add_signed(x, c, words, offset, span.size)


@_compiled
def _draw(words, span, key, p, word3, per_call):
    """Words of every call that the elements need; returns where in the first call they begin."""
    offset = np.int64(span.at % np.uint64(per_call))
    num_calls = (offset + span.size + per_call - 1) // per_call
    _philox(words, num_calls, span.at // np.uint64(per_call), key, p, word3)
    return offset


@_compiled
def _philox(words, num_calls, first_call, key, p, word3):
    w0, w1, w2, w3 = words[0], words[1], words[2], words[3]
    for i in range(num_calls):
        j = first_call + np.uint64(i)
        c0, c1, c2, c3 = j & _LOW, j >> _HALF, p, word3
        k0, k1 = key & _LOW, key >> _HALF
        for _ in range(10):
            a, b = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
            c0, c1, c2, c3 = (b >> _HALF) ^ c1 ^ k0, b & _LOW, (a >> _HALF) ^ c3 ^ k1, a & _LOW
            k0, k1 = (k0 + np.uint64(0x9E3779B9)) & _LOW, (k1 + np.uint64(0xBB67AE85)) & _LOW
        w0[i], w1[i], w2[i], w3[i] = c0, c1, c2, c3


@_compiled
def _look_up(z, words, num_elements, table):
    for i in range((num_elements + 7) // 8):
        for a in range(4):
            word = words[a, i]
            z[8 * i + 2 * a] = table[word & np.uint32(0xFFFF)]
            z[8 * i + 2 * a + 1] = table[word >> np.uint32(16)]


@_compiled
def _spread_halves(draws, words, num_elements):
    for i in range((num_elements + 7) // 8):
        for a in range(4):
            word = words[a, i]
            draws[8 * i + 2 * a] = np.float32(word & np.uint32(0xFFFF))
            draws[8 * i + 2 * a + 1] = np.float32(word >> np.uint32(16))


@_compiled
def _add_signed(x, c, words, offset, count):
    """x += c or x -= c, 32 elements at a time; the tile may be written past ``count``."""
    for i in range((count + 31) // 32):
        word = _word(words, offset, i)
        for b in range(32):
            x[32 * i + b] += -c if word & _BIT[b] else c


@_compiled
def _streams(out, theta, source):
    """Rademacher noise is so cheap that passes over a tile would take longer than the memory."""
    both_fp32 = out.code == FP32 and theta.code == FP32
    return both_fp32 and not source.gaussian and out.bits.ctypes.data != theta.bits.ctypes.data


@_compiled
def _stream(out, stored, c, words, offset, source):
    """out = theta + c z for fp32 in one loop: the reads and writes overlap with the work."""
    h, whole = source.threshold, stored.size // 32
    for i in range(whole):
        word = _word(words, offset, i)
        for b in range(32):
            out[32 * i + b] = _signed_sum(stored[32 * i + b], c, word & _BIT[b], h)
    word = _word(words, offset, whole)
    for b in range(stored.size - 32 * whole):
        out[32 * whole + b] = _signed_sum(stored[32 * whole + b], c, word & _BIT[b], h)


@_compiled
def _signed_sum(bits, c, negative, threshold):
    x = _value(bits)
    return _bits(x + (-c if negative else c)) if np.abs(x) <= threshold else bits


@_compiled
def _word(words, offset, i):
    """The bits of elements 32 i to 32 i + 31, counted from ``offset`` in the first call on."""
    k = offset // 32 + i
    pair = np.uint64(words[k & 3, k >> 2])
    pair |= np.uint64(words[(k + 1) & 3, (k + 1) >> 2]) << _HALF
    return np.uint32(pair >> np.uint64(offset % 32))


@_compiled
def _add(s, a, z):
    for i in range(z.size):
        s[i] = s[i] + a * z[i]


@_compiled
def _add_and_subtract(x, product, count):
    """x and product become x + product and x - product."""
    for i in range(count):
        plus, minus = x[i] + product[i], x[i] - product[i]
        x[i], product[i] = plus, minus


@_compiled
def _remember(kept, x, source):
    """What the tile begins with, which is needed only where some weights stay."""
    if source.threshold < np.inf:
        kept[:] = x


@_compiled
def _keep_large(x, kept, source):
    """Undo what was done to weights above the threshold, and to NaN."""
    h = source.threshold
    if h < np.inf:
        for i in range(x.size):
            x[i] = x[i] if np.abs(kept[i]) <= h else kept[i]


@_compiled
def _decay_and_subtract(x, d, s, count):
    for i in range(count):
        x[i] = x[i] * d - s[i]


@_compiled
def _load(x, stored, code):
    if code == FP32:
        for i in range(stored.size):
            x[i] = _value(stored[i])
    elif code == FP16:
        for i in range(stored.size):
            x[i] = _from_fp16(np.uint32(stored[i]))
    else:
        for i in range(stored.size):
            x[i] = _from_bf16(np.uint32(stored[i]))


@_compiled
def _store(stored, x, code):
    if code == FP32:
        for i in range(stored.size):
            stored[i] = _bits(x[i])
    elif code == FP16:
        for i in range(stored.size):
            stored[i] = _to_fp16(x[i])
    else:
        for i in range(stored.size):
            stored[i] = _to_bf16(x[i])


@_compiled
def _round(x, count, code):
    if code == FP16:
        for i in range(count):
            x[i] = _from_fp16(_to_fp16(x[i]))
    elif code == BF16:
        for i in range(count):
            x[i] = _from_bf16(_to_bf16(x[i]))


@_compiled
def _round_stochastically(x, draws, count, code):
    """A draw is a 16-bit half as fp32."""
    if code == FP16:
        for i in range(count):
            x[i] = _up_or_down_fp16(x[i], draws[i])
    else:
        for i in range(count):
            x[i] = _up_or_down_bf16(x[i], draws[i])


@_compiled
def _bits(x):
    return np.float32(x).view(np.uint32)


@_compiled
def _value(bits):
    return np.uint32(bits).view(np.float32)


@_compiled
def _magnitude(bits):
    return np.uint32(bits & np.uint32(0x7FFFFFFF))


@_compiled
def _from_bf16(half):
    return _value(half << np.uint32(16))


@_compiled
def _to_bf16(x):
    bits = _bits(x)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = np.uint32(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))
    return np.uint32(0x7FC0) if _magnitude(bits) > _INFINITY else rounded


@_compiled
def _from_fp16(half):
    """Exact: the exponent is moved by a multiplication, which gets subnormals right too."""
    shifted = np.uint32((half & np.uint32(0x7FFF)) << np.uint32(13))
    scaled = _bits(_value(shifted) * np.float32(2.0**112))
    special = np.uint32(shifted | _INFINITY)
    magnitude = special if shifted >= np.uint32(0x7C00 << 13) else scaled
    return _value(magnitude | ((half & np.uint32(0x8000)) << np.uint32(16)))


@_compiled
def _to_fp16(x):
    """To nearest even; the adder rounds subnormals: 0.5 has their grid, 2^-24, as its last bit."""
    bits = _bits(x)
    magnitude = _magnitude(bits)
    odd = (magnitude >> np.uint32(13)) & np.uint32(1)
    rebased = np.uint32(magnitude + np.uint32(0xFFF) + odd - np.uint32(112 << 23))
    normal = np.uint32(rebased >> np.uint32(13))
    small = np.uint32(_bits(_value(magnitude) + np.float32(0.5)) - _bits(np.float32(0.5)))
    result = small if magnitude < _FP16_NORMAL else normal
    result = np.uint32(0x7C00) if magnitude >= _FP16_PAST else result
    result = np.uint32(0x7E00) if magnitude > _INFINITY else result
    return np.uint32(result | ((bits ^ magnitude) >> np.uint32(16)))


@_compiled
def _up_or_down_bf16(x, draw):
    bits = _bits(x)
    magnitude = _magnitude(bits)
    cut = np.uint32((magnitude + np.uint32(draw)) & np.uint32(0xFFFF0000))
    result = magnitude if magnitude >= _INFINITY else cut
    return _value(result | (bits ^ magnitude))


@_compiled
def _up_or_down_fp16(x, draw):
    bits = _bits(x)
    magnitude = _magnitude(bits)
    cut = np.uint32((magnitude + (np.uint32(draw) >> np.uint32(3))) & np.uint32(0xFFFFE000))
    points = np.float32(_value(magnitude) * np.float32(2.0**24))
    whole = np.float32(np.floor(points))
    up = np.float32((points - whole) * np.float32(65536.0)) >= np.float32(65536.0) - draw
    small = _bits((whole + np.float32(up)) * np.float32(2.0**-24))
    result = small if magnitude < _FP16_NORMAL else cut
    result = _INFINITY if result >= _FP16_PAST else result
    result = magnitude if magnitude > _INFINITY else result
    return _value(result | (bits ^ magnitude))
