"""How far runs are from their prediction, beyond what their repetition explains."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.recorded_run import case_of
from experiments.reference import Reference, TimedRun, excess, misfit_ratio
from experiments.run_design import calibration_runs, reference_run
from tests.calibrated import calibrated_host
from zo2rt.measure.calm import Turn
from zo2sim.machine import Machine, Quantity
from zo2sim.predict import predict

COUNT = 24


@pytest.fixture(scope="module")
def machine() -> Machine:
    host = calibrated_host()
    assert host.cpu is not None
    step_s = predict(case_of(reference_run(), host)).step_s
    known = Quantity(step_s, "measured", "a test")
    return replace(host, cpu=replace(host.cpu, reference_s=known))


def measured(machine: Machine, *, misfit: float, noise: float) -> list[TimedRun]:
    """Runs whose steps are off by ``misfit``, in eight turns that scatter by ``noise``."""
    assert machine.cpu is not None
    rng, reference_s = np.random.default_rng(1), machine.cpu.reference_s.value
    found: list[TimedRun] = []
    for spec in calibration_runs(COUNT, seed=0):
        step_s = predict(case_of(spec, machine)).step_s * np.exp(misfit * rng.standard_normal())
        steps_s = step_s * np.exp(noise * rng.standard_normal((8, 4)))
        turns = [
            Turn(steps_s={4 * i + j: s for j, s in enumerate(own)}, reference_s=reference_s)
            for i, own in enumerate(steps_s.tolist())
        ]
        found.append(TimedRun(spec=spec, turns=turns))
    return found


def test_runs_that_are_as_predicted_have_no_misfit(machine: Machine):
    assert misfit_ratio(excess(machine, measured(machine, misfit=0.0, noise=1e-6))) < 0.002


def test_the_misfit_is_what_noise_does_not_explain(machine: Machine):
    found = misfit_ratio(excess(machine, measured(machine, misfit=0.05, noise=0.01)))
    assert found == pytest.approx(0.05, rel=0.3)


def test_drift_of_the_cores_is_no_misfit(machine: Machine):
    runs = measured(machine, misfit=0.0, noise=1e-6)
    reference = Reference.of(machine, [run.turns for run in runs])
    spec, turns = runs[1].spec, runs[1].turns  # resident: nothing but its cores
    slow = [
        Turn(steps_s={k: 1.2 * s for k, s in t.steps_s.items()}, reference_s=1.2 * t.reference_s)
        for t in turns
    ]
    prediction = predict(case_of(spec, machine))
    before, after = (reference.calm_step(prediction, one).step_s for one in (turns, slow))
    assert after == pytest.approx(before, rel=0.02)


def test_a_misfit_that_noise_hides_is_what_the_runs_do_not_exclude():
    assert misfit_ratio([0.01, -0.01, 0.01, -0.01]) == pytest.approx((4e-4 / 3 / 4) ** 0.25)
