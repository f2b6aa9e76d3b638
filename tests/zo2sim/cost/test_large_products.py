"""One measured large product sets the pace of all products of a card without a table."""

import pytest

from zo2sim.cost.kernels import for_machine, scaled_model
from zo2sim.machines.file import named


def test_a_large_product_that_somebody_measured_scales_all_others():
    plain = scaled_model(125e12, 900e9, 80)
    slowed = plain.with_large_gemm(96e12)
    assert slowed.gemm_s(8192, 8192, 8192) == pytest.approx(2 * 8192**3 / 96e12)
    ratio = slowed.gemm_s(8192, 8192, 8192) / plain.gemm_s(8192, 8192, 8192)
    assert slowed.gemm_s(100, 2048, 512) / plain.gemm_s(100, 2048, 512) == pytest.approx(ratio)
    assert slowed.attention_s(4, 1024, 16, 16, 64) == plain.attention_s(4, 1024, 16, 16, 64)
    assert "products by a large one" in slowed.provenance


def test_no_large_product_beats_the_peak():
    model = scaled_model(83e12, 900e9, 80).with_large_gemm(96e12)
    for edge in (8192, 32768):
        assert model.gemm_s(edge, edge, edge) >= 2 * edge**3 / 83e12 * (1 - 1e-12)


def test_the_v100_reaches_what_it_was_measured_to_reach():
    model = for_machine(named("v100-sxm-32gb"))
    assert model.gemm_s(8192, 8192, 8192) == pytest.approx(2 * 8192**3 / 96e12)
    assert model is for_machine(named("v100-sxm-32gb"))
