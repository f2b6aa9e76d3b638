"""Units: a number is shown in the one that suits, whatever its key is in SI."""

import pytest

from zo2sim.machines.units import suiting


@pytest.mark.parametrize(
    ("key", "value", "symbol"),
    [
        ("link.h2d_bytes_per_s", 25.5e9, "GB/s"),
        ("link.h2d_bytes_per_s", 2e12, "TB/s"),
        ("cpu.gap_s", 1.2e-4, "us"),
        ("cpu.gap_s", 3.0, "s"),
        ("device.gemm_flops_per_s", 150e12, "TFLOP/s"),
        ("cpu.misfit_ratio", 0.02, "%"),
        ("link.half_size_bytes", 64e3, "kB"),
        ("host.num_cores", 16.0, ""),
    ],
)
def test_a_number_is_from_1_to_1000_in_the_unit_that_suits(key: str, value: float, symbol: str):
    assert suiting(key, value).symbol == symbol
