"""The CUDA kernel: a program per row and tile of it; codes to weights with the bits of numba's.

Import this module only where triton is installed. A product is all the arithmetic there is.
"""

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from zo2rt.model.triton_bits import BF16_BITS, load

COMPILE_OPTIONS = {"enable_fp_fusion": False}
"""Said at every launch, as for noise, although there is nothing to fuse."""

_TILE = tl.constexpr(1024)
_NUMBERS = ["length", "row_bytes", "groups", "group"]


def grid(rows: int, length: int) -> tuple[int, int]:
    """Programs for ``rows`` rows of ``length`` weights."""
    return rows, triton.cdiv(length, _TILE.value)


@triton.jit(do_not_specialize=_NUMBERS)
def decode(  # noqa: PLR0913 - a kernel takes pointers and numbers, not objects
    out, codes, zeros, scales,
    length: tl.int32, row_bytes: tl.int32, groups: tl.int32, group: tl.int32,
    FOUR_BITS: tl.constexpr, ZEROS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * _TILE + tl.arange(0, _TILE)
    inside = column < length
    at = row * groups + column // group
    if FOUR_BITS:
        byte = tl.load(codes + row * row_bytes + column // 2, mask=inside, other=0).to(tl.int32)
        steps = (byte >> (4 * (column % 2))) & 15
        if ZEROS:
            steps -= tl.load(zeros + at, mask=inside, other=0).to(tl.int32)
        else:
            steps -= 8
    else:
        byte = tl.load(codes + row * row_bytes + column, mask=inside, other=0)
        steps = byte.to(tl.int8, bitcast=True).to(tl.int32)
    w = steps.to(tl.float32) * load(scales, at, inside)
    _store(out, row * length + column, inside, w)


@triton.jit
def _store(out, at, inside, w):
    """To nearest even; no weight is NaN."""
    if out.dtype.element_ty == BF16_BITS:
        bits = w.to(tl.uint32, bitcast=True)
        half = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).to(tl.uint16)
        stored = half.to(tl.int16, bitcast=True)
    else:
        stored = w.to(out.dtype.element_ty)
    tl.store(out + at, stored, mask=inside)
