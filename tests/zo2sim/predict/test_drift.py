"""What drift does to a step: by its shares of one that computes, nothing to one that waits."""

from dataclasses import replace

import pytest

from experiments.campaign.designs import reference_runs
from experiments.campaign.recorded_run import case_of
from tests.calibrated import calibrated_host
from tests.zo2sim.cost.test_cpu import case
from zo2sim.machines.file import named
from zo2sim.machines.what_if import scale_link
from zo2sim.plan.choices import Plan, Policy
from zo2sim.predict.drift import Drift, Shares, drifted, shares
from zo2sim.predict.predict import predict


def test_every_constant_of_a_core_drifts_with_its_kind():
    before = calibrated_host(1.5)
    after = drifted(before, Drift(computing=2.0, starting=4.0))
    assert before.cpu is not None
    assert after.cpu is not None
    assert after.cpu.gemm_flops_per_s.value == before.cpu.gemm_flops_per_s.value / 2
    assert after.cpu.gap_s.value == 4 * before.cpu.gap_s.value
    assert after.cpu.gap_s.high == pytest.approx(4 * (before.cpu.gap_s.high or 0.0))
    assert after.host.stream_handover_s.value == 4 * before.host.stream_handover_s.value
    ratios = ("misfit_ratio", "jitter_ratio", "together_ratio")
    for kept in (*ratios, "large_reference_s", "small_reference_s"):
        assert getattr(after.cpu, kept) == getattr(before.cpu, kept)
    assert after.link == before.link


def test_a_constant_that_is_none_of_a_core_does_not_drift():
    drift = Drift(computing=2.0, starting=4.0)
    cores = ("cpu.launch_s", "cpu.pass_elements_per_s", "host.stream_handover_s")
    assert [drift.of(key) for key in cores] == [4.0, 2.0, 4.0]
    others = ("host.fsync_s", "link.latency_s", "link.h2d_bytes_per_s", "cpu.throttle_s")
    assert [drift.of(key) for key in others] == [1.0] * 4


def test_the_shares_of_a_step_that_computes_are_all_of_it():
    one = predict(case(Plan(policy=Policy.RESIDENT), sequence=512, batch=4))
    found = shares(one)
    assert found.computing + found.starting == pytest.approx(1.0, abs=1e-6)
    assert min(found.computing, found.starting) > 0.01
    drift = Drift(computing=1.1, starting=1.5)
    after = predict(replace(one.case, machine=drifted(one.case.machine, drift)))
    assert found.longer(drift) == pytest.approx(after.step_s / one.step_s, rel=1e-6)


def test_a_step_that_waits_for_its_link_does_not_drift():
    one = case()
    found = shares(predict(replace(one, machine=scale_link(one.machine, 1e-3))))
    assert found.computing + found.starting < 0.1


def test_of_the_references_one_computes_and_one_starts():
    """Else two equations would not tell two drifts."""
    large, small = (shares(predict(case_of(s, calibrated_host()))) for s in reference_runs())
    assert large.computing > 0.7
    assert small.starting > 0.7


def test_without_constants_of_cores_drift_is_shared_alike():
    found = shares(predict(replace(case(), machine=named("this-host"))))
    assert found == Shares(computing=0.5, starting=0.5)
