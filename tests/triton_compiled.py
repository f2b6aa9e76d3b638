"""Compiles the Triton kernels for sm_90 and looks at the PTX; run by `test_noise_triton`."""

import re
import sys
from typing import Any

import triton  # pyright: ignore[reportMissingImports]
from triton.backends.compiler import GPUTarget  # pyright: ignore[reportMissingImports]
from triton.compiler import ASTSource  # pyright: ignore[reportMissingImports]

from zo2rt.noise import triton_kernels

_FUSED = re.compile(r"\bfma\.|\b(?:add|sub|mul)\.f32")  # ptxas may fuse what does not say .rn
_FLUSHED = re.compile(r"\b(?:add|sub|mul|div)(?:\.rn)?\.ftz")
_SIZES = {"first": "i64", "p": "i64", "count": "i64", "TILE": "constexpr", "GAUSSIAN": "constexpr"}


def _perturb(kernel: Any, outs: tuple[str, ...], fmt: str, gaussian: bool) -> str:
    types = dict.fromkeys((*outs, "theta"), f"*{fmt}")
    types |= {"table": "*fp32", "key": "u64", "c": "fp32"} | _SIZES
    return _ptx(kernel, types, {"GAUSSIAN": gaussian})


def _update(fmt: str, gaussian: bool, rounding: bool) -> str:
    types = {"theta": f"*{fmt}", "table": "*fp32", "keys": "*i64", "coefficients": "*fp32"}
    types |= {"ends": "*i32", "decays": "*fp32", "num_records": "i32"} | _SIZES
    types |= {"ROUNDING": "constexpr"}
    constants = {"GAUSSIAN": gaussian, "ROUNDING": rounding}
    return _ptx(triton_kernels._update, types, constants)


def _ptx(kernel: Any, types: dict[str, str], constants: dict[str, bool]) -> str:
    source = ASTSource(fn=kernel, signature=types, constexprs={"TILE": 1024, **constants})
    target = GPUTarget("cuda", 90, 32)
    options = dict(triton_kernels.COMPILE_OPTIONS)
    return triton.compile(source, target=target, options=options).asm["ptx"]


def main() -> None:
    """One line per kernel and format: how many instructions fuse, how many flush subnormals."""
    single, pair = triton_kernels._perturb, triton_kernels._perturb_pair
    texts = {
        "fp32 gaussian perturb": _perturb(single, ("out",), "fp32", True),
        "fp16 rademacher perturb": _perturb(single, ("out",), "fp16", False),
        "fp32 gaussian perturb both ways": _perturb(pair, ("plus", "minus"), "fp32", True),
        "bf16 rademacher perturb both ways": _perturb(pair, ("plus", "minus"), "i16", False),
        "fp32 rademacher update": _update("fp32", False, False),
        "bf16 gaussian update": _update("i16", True, False),
        "fp16 gaussian update, stochastic": _update("fp16", True, True),
        "bf16 rademacher update, stochastic": _update("i16", False, True),
    }
    for name, ptx in texts.items():
        fused, flushed = len(_FUSED.findall(ptx)), len(_FLUSHED.findall(ptx))
        sys.stdout.write(f"{name}: fused {fused}, flushed {flushed}\n")


if __name__ == "__main__":
    main()
