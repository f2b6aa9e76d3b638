"""Weights of any float format in CUDA kernels, as fp32.

Import this module only where triton is installed.
"""

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

BF16_BITS = tl.constexpr(tl.int16)
"""bf16 enters and leaves as raw bits: Triton's interpreter truncates it and loses subnormals."""


@triton.jit
def load(weights, offset, inside):
    """Of bf16, raw bits."""
    stored = tl.load(weights + offset, mask=inside, other=0)
    if weights.dtype.element_ty == BF16_BITS:
        bits = stored.to(tl.uint16, bitcast=True).to(tl.uint32) << 16
        x = bits.to(tl.float32, bitcast=True)
    else:
        x = stored.to(tl.float32)
    return x
