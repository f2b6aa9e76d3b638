"""What slower cores do to a step: all of one that computes, nothing of one that waits."""

from dataclasses import replace

import pytest

from tests.calibrated import calibrated_host
from tests.test_cpu_cost import case
from zo2sim.drift import core_share, with_slower_cores
from zo2sim.plan import Plan, Policy
from zo2sim.predict import predict
from zo2sim.what_if import scale_link


def test_every_constant_of_a_core_slows_down():
    before = calibrated_host(1.5)
    after = with_slower_cores(before, 2.0)
    assert before.cpu is not None
    assert after.cpu is not None
    assert after.cpu.gemm_flops_per_s.value == before.cpu.gemm_flops_per_s.value / 2
    assert after.cpu.gap_s.value == 2 * before.cpu.gap_s.value
    assert after.cpu.gap_s.high == pytest.approx(2 * (before.cpu.gap_s.high or 0.0))
    assert after.host.stream_handover_s.value == 2 * before.host.stream_handover_s.value
    for kept in ("misfit_ratio", "jitter_ratio", "together_ratio", "reference_s"):
        assert getattr(after.cpu, kept) == getattr(before.cpu, kept)
    assert after.link == before.link


def test_a_step_that_computes_slows_down_with_its_cores():
    assert core_share(predict(case(Plan(policy=Policy.RESIDENT)))) == pytest.approx(1.0, abs=1e-6)


def test_a_step_that_waits_for_its_link_does_not():
    one = case()
    bound = predict(replace(one, machine=scale_link(one.machine, 1e-3)))
    assert core_share(bound) < 0.1
