"""The Triton kernels: the reference's bits, and no fused multiply-add.

In Triton's interpreter and compiled ahead for sm_90, which needs no device; and, marked `gpu`, on
a real one. Every program runs in a process of its own, because Triton reads its environment when
it is imported. The whole file is skipped where triton is not installed.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from tests import ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)
on_a_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def run(program: str, *arguments: str, **environment: str) -> list[str]:
    """The lines that the module ``program`` writes; it must succeed."""
    finished = subprocess.run(
        [sys.executable, "-m", program, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout.splitlines()


@pytest.mark.parametrize(
    ("device", "interpret"),
    [("cpu", "1"), pytest.param("cuda", "0", marks=on_a_gpu)],
)
def test_every_kernel_gives_the_references_bits(device: str, interpret: str) -> None:
    lines = run("tests.zo2rt.noise.triton_compared", device, TRITON_INTERPRET=interpret)
    assert len(lines) == 54
    assert [line for line in lines if not line.endswith("equal")] == []


@pytest.mark.parametrize("capability", ["90", pytest.param("present", marks=on_a_gpu)])
def test_the_compiled_code_fuses_nothing_and_keeps_subnormals(capability: str) -> None:
    """PTX and SASS; what arithmetic is left says how it rounds."""
    if capability == "present":
        capability = "".join(map(str, torch.cuda.get_device_capability()))
    lines = run("tests.zo2rt.noise.triton_compiled", capability)
    assert len(lines) == 8
    assert [line for line in lines if not line.endswith("fused 0, flushed 0")] == []
