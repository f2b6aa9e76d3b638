"""The CUDA kernels: one pass over the weights, z only in registers, the bits of the reference.

Import this module only where triton is installed. Every launch says ``enable_fp_fusion=False``:
products are rounded before sums. Programs take tiles that begin at a multiple of a rademacher
call, so a call is never computed by two of them.
"""

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from zo2rt.model.triton_bits import BF16_BITS, load

COMPILE_OPTIONS = {"enable_fp_fusion": False}
"""Said at every launch: Triton fuses products and sums by default."""

_TILE = tl.constexpr(1024)
_ALIGNMENT = 128

# Triton would compile again for each width of a number and for pointers that happen to be aligned.
_SCALARS = ["key", "c", "num_records", "first", "p", "count", "h"]
_ARRAYS = ["keys", "coefficients", "ends", "decays"]


def grid(first_element: int, count: int) -> tuple[int]:
    """Programs for ``count`` elements from ``first_element`` on."""
    return (triton.cdiv(first_element % _ALIGNMENT + count, _TILE.value),)


@triton.jit(do_not_specialize=_SCALARS)
def perturb(  # noqa: PLR0913 - a kernel takes pointers and numbers, not objects
    out, theta, table, key: tl.uint64, c: tl.float32,
    first: tl.int64, p: tl.uint32, count: tl.int64, h: tl.float32,
    GAUSSIAN: tl.constexpr, SPARSE: tl.constexpr,
):  # fmt: skip
    base, offset, inside = _range(first, count, _TILE)
    x = load(theta, offset, inside)
    w = _unless_large(x, x + c * _noise(key, base, p, table, _TILE, GAUSSIAN), h, SPARSE)
    _store(out, offset, inside, _round(w, out.dtype.element_ty))


@triton.jit(do_not_specialize=_SCALARS)
def perturb_pair(  # noqa: PLR0913
    plus, minus, theta, table, key: tl.uint64, c: tl.float32,
    first: tl.int64, p: tl.uint32, count: tl.int64, h: tl.float32,
    GAUSSIAN: tl.constexpr, SPARSE: tl.constexpr,
):  # fmt: skip
    base, offset, inside = _range(first, count, _TILE)
    x = load(theta, offset, inside)
    product = c * _noise(key, base, p, table, _TILE, GAUSSIAN)
    w_plus = _unless_large(x, x + product, h, SPARSE)
    w_minus = _unless_large(x, x - product, h, SPARSE)
    _store(plus, offset, inside, _round(w_plus, plus.dtype.element_ty))
    _store(minus, offset, inside, _round(w_minus, minus.dtype.element_ty))


@triton.jit(do_not_specialize=_SCALARS + _ARRAYS)
def update(  # noqa: PLR0913
    theta, table, keys, coefficients, ends, decays, num_records: tl.int32,
    first: tl.int64, p: tl.uint32, count: tl.int64, h: tl.float32,
    GAUSSIAN: tl.constexpr, SPARSE: tl.constexpr, ROUNDING: tl.constexpr,
):  # fmt: skip
    base, offset, inside = _range(first, count, _TILE)
    x = load(theta, offset, inside)
    begin = 0
    for r in range(num_records):
        end = tl.load(ends + r)
        # The first product on its own: 0 + (-0) would change a sign, and tl.full drops that of -0.
        key = tl.load(keys + begin)
        s = tl.load(coefficients + begin) * _noise(key, base, p, table, _TILE, GAUSSIAN)
        for i in range(begin + 1, end):
            z = _noise(tl.load(keys + i), base, p, table, _TILE, GAUSSIAN)
            s = s + tl.load(coefficients + i) * z
        y = x * tl.load(decays + r) - s
        if ROUNDING:
            y = _round_stochastically(y, _halves(key, base, p, 1, _TILE), theta.dtype.element_ty)
        else:
            y = _round(y, theta.dtype.element_ty)
        x = _unless_large(x, y, h, SPARSE)
        begin = end
    _store(theta, offset, inside, x)


@triton.jit
def _unless_large(x, changed, h, SPARSE: tl.constexpr):
    """x where it is above the threshold, or NaN; else what it was changed to."""
    if SPARSE:
        changed = tl.where(tl.abs(x) <= h, changed, x)
    return changed


@triton.jit
def _range(first, count, TILE: tl.constexpr):
    """First element of the tile, offsets into the buffer, and which of them lie within it."""
    start = tl.to_tensor(first).to(tl.int64)
    base = start // 128 * 128 + tl.program_id(0).to(tl.int64) * TILE
    offset = base + tl.arange(0, TILE) - start
    return base, offset, (offset >= 0) & (offset < count)


@triton.jit
def _noise(key, base, p, table, TILE: tl.constexpr, GAUSSIAN: tl.constexpr):
    if GAUSSIAN:
        z = tl.load(table + _halves(key, base, p, 0, TILE).to(tl.int32))
    else:
        e = tl.arange(0, TILE)
        word = tl.gather(_flat_words(key, base // 128, p, TILE // 128), e // 32, axis=0)
        bit = (word >> (e % 32).to(tl.uint32)) & 1
        z = 1.0 - 2.0 * bit.to(tl.float32)
    return z


@triton.jit
def _halves(key, base, p, word3, TILE: tl.constexpr):
    w0, w1, w2, w3 = _words(key, base // 8, p, word3, TILE // 8)
    column = tl.arange(0, 8)[None, :]
    index = column // 2
    lower = tl.where(index == 0, w0[:, None], w1[:, None])
    upper = tl.where(index == 2, w2[:, None], w3[:, None])
    word = tl.where(index < 2, lower, upper)
    half = (word >> (16 * (column % 2)).to(tl.uint32)) & 0xFFFF
    return tl.reshape(half, (TILE,))


@triton.jit
def _flat_words(key, first_call, p, CALLS: tl.constexpr):
    """The words of the calls, in order."""
    w0, w1, w2, w3 = _words(key, first_call, p, 0, CALLS)
    return tl.reshape(tl.join(tl.join(w0, w2), tl.join(w1, w3)), (CALLS * 4,))


@triton.jit
def _words(key, first_call, p, word3, CALLS: tl.constexpr):
    j = first_call + tl.arange(0, CALLS)
    low, high = (j & 0xFFFFFFFF).to(tl.uint32), (j >> 32).to(tl.uint32)
    c2 = tl.zeros_like(low) + tl.to_tensor(p).to(tl.uint32)
    c3 = tl.zeros_like(low) + tl.to_tensor(word3).to(tl.uint32)
    return tl.philox(key, low, high, c2, c3)


@triton.jit
def _store(weights, offset, inside, x):
    """x lies on the grid of the weights' format already."""
    if weights.dtype.element_ty == BF16_BITS:
        half = (x.to(tl.uint32, bitcast=True) >> 16).to(tl.uint16)
        stored = half.to(tl.int16, bitcast=True)
    else:
        stored = x.to(weights.dtype.element_ty)
    tl.store(weights + offset, stored, mask=inside)


@triton.jit
def _round(x, dtype: tl.constexpr):
    """fp32 on the grid of the format, to nearest even."""
    if dtype == BF16_BITS:
        bits = x.to(tl.uint32, bitcast=True)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        rounded = tl.where((bits & 0x7FFFFFFF) > 0x7F800000, 0x7FC00000, rounded)
        y = rounded.to(tl.float32, bitcast=True)
    else:
        y = x.to(dtype).to(tl.float32)
    return y


@triton.jit
def _round_stochastically(x, draw, dtype: tl.constexpr):
    bits = x.to(tl.uint32, bitcast=True)
    magnitude = bits & 0x7FFFFFFF
    if dtype == BF16_BITS:
        up = tl.where(magnitude >= 0x7F800000, magnitude, (magnitude + draw) & 0xFFFF0000)
    else:
        cut = (magnitude + (draw >> 3)) & 0xFFFFE000
        points = magnitude.to(tl.float32, bitcast=True) * 16777216.0
        whole = tl.floor(points)
        carry = (points - whole) * 65536.0 >= 65536.0 - draw.to(tl.float32)
        small = (whole + carry.to(tl.float32)) * 5.9604644775390625e-08
        up = tl.where(magnitude < 0x38800000, small.to(tl.uint32, bitcast=True), cut)
        up = tl.where(up >= 0x47800000, 0x7F800000, up)
        up = tl.where(magnitude > 0x7F800000, magnitude, up)
    return (up | (bits & 0x80000000)).to(tl.float32, bitcast=True)
