"""Compiles the Triton kernel of integer formats, which needs no device; run by
`test_integers_triton`.

The argument is the compute capability, 90 for sm_90.
"""

import itertools
import re
import sys
from typing import Any

from triton.backends.compiler import GPUTarget  # pyright: ignore[reportMissingImports]
from triton.compiler import ASTSource, compile  # pyright: ignore[reportMissingImports]

from zo2rt.model.integers import triton_kernels

_FLUSHED = re.compile(r"\bmul(?:\.rn)?\.ftz|\bFMUL\.FTZ|\bcvt[a-z.]*\.ftz")


def _code(weights: str, scales: str, **constants: bool) -> str:
    """PTX and SASS; numbers have the types of the kernel's signature."""
    kernel: Any = triton_kernels.decode
    types = {p.name: "constexpr" if p.is_constexpr else p.annotation_type for p in kernel.params}
    pointers = {"out": f"*{weights}", "codes": "*u8", "zeros": "*u8", "scales": f"*{scales}"}
    source = ASTSource(fn=kernel, signature=types | pointers, constexprs=constants)
    target = GPUTarget("cuda", int(sys.argv[1]), 32)
    asm = compile(source, target=target, options=dict(triton_kernels.COMPILE_OPTIONS)).asm
    return asm["ptx"] + asm["sass"]


def main() -> None:
    """One line per format: how many instructions flush subnormals.

    Of fp16 both factors are exact in it, so the compiler may take its product, rounded once too.
    """
    for four, zeros, (weights, scales) in itertools.product(
        (False, True), (False, True), (("fp32", "fp32"), ("fp16", "fp16"), ("i16", "i16"))
    ):
        if zeros and not four:
            continue
        code = _code(weights, scales, FOUR_BITS=four, ZEROS=zeros)
        assert re.search(r"\bmul(?:\.rn)?\.f(?:32|16)", code), "no product found"
        sys.stdout.write(f"{weights} {four} {zeros}: flushed {len(_FLUSHED.findall(code))}\n")


if __name__ == "__main__":
    main()
