"""The Triton kernel of integer formats gives numba's bits; skipped where there is no triton."""

import importlib.util

import pytest

from tests.zo2rt.noise.test_triton import on_a_gpu, run

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)


@pytest.mark.parametrize(
    ("device", "interpret"), [("cpu", "1"), pytest.param("cuda", "0", marks=on_a_gpu)]
)
def test_every_format_gives_the_bits_of_the_host(device: str, interpret: str) -> None:
    lines = run("tests.zo2rt.model.integers_compared", device, TRITON_INTERPRET=interpret)
    assert len(lines) == 54
    assert [line for line in lines if not line.endswith("equal")] == []


def test_the_kernel_compiles_and_keeps_subnormals() -> None:
    lines = run("tests.zo2rt.model.integers_compiled", "90")
    assert len(lines) == 9
    assert [line for line in lines if not line.endswith("flushed 0")] == []
