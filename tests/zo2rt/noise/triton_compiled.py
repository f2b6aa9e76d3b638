"""Compiles the Triton kernels and looks at the PTX and the SASS; run by `test_noise_triton`.

The argument is the compute capability, 90 for sm_90; no device is needed.
"""

import re
import sys
from typing import Any

import triton  # pyright: ignore[reportMissingImports]
from triton.backends.compiler import GPUTarget  # pyright: ignore[reportMissingImports]
from triton.compiler import ASTSource  # pyright: ignore[reportMissingImports]

from zo2rt.noise import triton_kernels as kernels

_FUSED = re.compile(r"\bfma\.|\b(?:add|sub|mul)\.f32|\b[FH]FMA")  # ptxas may fuse what lacks .rn
_FLUSHED = re.compile(r"\b(?:add|sub|mul|div)(?:\.rn)?\.ftz|\bF(?:ADD|MUL)\.FTZ")
_WIDE = re.compile(r"tt\.addptr .* tensor<1024xi64>")
_ARRAYS = {"table": "*fp32", "keys": "*i64", "coefficients": "*fp32", "ends": "*i32"}
_ARRAYS |= {"decays": "*fp32"}


def _code(kernel: Any, fmt: str, *, SPARSE: bool = False, **constants: bool) -> str:
    """PTX and SASS for weights of one format; numbers have the types of the kernel's signature."""
    types = {p.name: "constexpr" if p.is_constexpr else p.annotation_type for p in kernel.params}
    buffers = {name: f"*{fmt}" for name in ("out", "plus", "minus", "theta") if name in types}
    arrays = {name: pointer for name, pointer in _ARRAYS.items() if name in types}
    source = ASTSource(
        fn=kernel, signature=types | buffers | arrays, constexprs={"SPARSE": SPARSE, **constants}
    )
    target = GPUTarget("cuda", int(sys.argv[1]), 32)
    asm = triton.compile(source, target=target, options=dict(kernels.COMPILE_OPTIONS)).asm
    num_wide = len(_WIDE.findall(asm["ttir"]))
    assert num_wide == len(buffers), f"{num_wide} of {len(buffers)} addresses have 64 bits"
    return asm["ptx"] + asm["sass"]


def main() -> None:
    """One line per kernel and format: how many instructions fuse, how many flush subnormals."""
    codes = {
        "fp32 gaussian perturb": _code(kernels.perturb, "fp32", GAUSSIAN=True),
        "fp16 rademacher perturb": _code(kernels.perturb, "fp16", GAUSSIAN=False),
        "fp32 gaussian perturb both ways": _code(kernels.perturb_pair, "fp32", GAUSSIAN=True),
        "bf16 rademacher perturb both ways, sparse": _code(
            kernels.perturb_pair, "i16", GAUSSIAN=False, SPARSE=True
        ),
        "fp32 rademacher update": _code(kernels.update, "fp32", GAUSSIAN=False, ROUNDING=False),
        "bf16 gaussian update": _code(kernels.update, "i16", GAUSSIAN=True, ROUNDING=False),
        "fp16 gaussian update, stochastic": _code(
            kernels.update, "fp16", GAUSSIAN=True, ROUNDING=True
        ),
        "bf16 rademacher update, stochastic, sparse": _code(
            kernels.update, "i16", GAUSSIAN=False, ROUNDING=True, SPARSE=True
        ),
    }
    for name, code in codes.items():
        products = len(re.findall(r"\bmul\.rn\.f32", code)), len(re.findall(r"\bFMUL\b", code))
        assert min(products) > 0, f"{name}: no product found in PTX, SASS: {products}"
        fused, flushed = len(_FUSED.findall(code)), len(_FLUSHED.findall(code))
        sys.stdout.write(f"{name}: fused {fused}, flushed {flushed}\n")


if __name__ == "__main__":
    main()
