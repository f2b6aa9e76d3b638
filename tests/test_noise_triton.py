"""The Triton kernels: the reference's bits in Triton's interpreter, and no fused multiply-add.

Both run in processes of their own, because Triton reads its environment when it is imported. The
whole file is skipped where triton is not installed. Neither needs a GPU.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)


def run(program: str, **environment: str) -> str:
    """The standard output of ``tests/<program>.py``, which must succeed."""
    finished = subprocess.run(
        [sys.executable, "-m", f"tests.{program}"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_the_interpreter_gives_the_references_bits() -> None:
    lines = run("triton_interpreted", TRITON_INTERPRET="1").splitlines()
    assert len(lines) == 30
    assert [line for line in lines if not line.endswith("equal")] == []


def test_the_compiled_code_fuses_nothing_and_keeps_subnormals() -> None:
    """Compiled for sm_90 without a device; what arithmetic is left says how it rounds."""
    lines = run("triton_compiled").splitlines()
    assert len(lines) == 8
    assert [line for line in lines if not line.endswith("fused 0, flushed 0")] == []
