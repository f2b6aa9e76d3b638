"""How far runs are from their prediction, beyond what their repetition explains."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.campaign.designs import calibration_runs
from experiments.campaign.recorded_run import case_of
from experiments.campaign.references import References, excess, misfit_ratio
from tests.calibrated import referenced_host, references_s
from zo2rt.measure.calm import Turn
from zo2rt.measure.runs import MeasuredRun
from zo2sim.machines.file import named
from zo2sim.machines.machine import Machine
from zo2sim.predict.drift import Drift, drifted
from zo2sim.predict.predict import predict

COUNT = 24
DRIFT = Drift(computing=1.1, starting=1.5)


@pytest.fixture(scope="module")
def machine() -> Machine:
    return referenced_host()


def measured(machine: Machine, *, misfit: float, noise: float) -> list[MeasuredRun]:
    """Runs whose steps are off by ``misfit``, in eight turns that scatter by ``noise``."""
    rng, beside_s = np.random.default_rng(1), references_s(machine)
    found: list[MeasuredRun] = []
    for spec in calibration_runs(COUNT, seed=0):
        trace = predict(case_of(spec, machine)).trace
        step_s = trace.step_s * np.exp(misfit * rng.standard_normal())
        steps_s = step_s * np.exp(noise * rng.standard_normal((8, 4)))
        turns = [
            Turn(steps_s={4 * i + j: s for j, s in enumerate(own)}, references_s=beside_s)
            for i, own in enumerate(steps_s.tolist())
        ]
        found.append(MeasuredRun(spec=spec, trace=trace, turns=turns))
    return found


def test_runs_that_are_as_predicted_have_no_misfit(machine: Machine):
    assert misfit_ratio(excess(machine, measured(machine, misfit=0.0, noise=1e-6))) < 0.002


def test_the_misfit_is_what_noise_does_not_explain(machine: Machine):
    found = misfit_ratio(excess(machine, measured(machine, misfit=0.05, noise=0.01)))
    assert found == pytest.approx(0.05, rel=0.3)


def test_both_drifts_are_told_from_the_references(machine: Machine):
    runs = measured(machine, misfit=0.0, noise=1e-6)
    references = References.of(machine, [run.turns for run in runs])
    turn = Turn(steps_s={0: 1.0}, references_s=references_s(drifted(machine, DRIFT)))
    found = references.drift(turn)
    assert found.computing == pytest.approx(DRIFT.computing, rel=5e-3)
    assert found.starting == pytest.approx(DRIFT.starting, rel=5e-3)


def test_no_drift_makes_a_step_vanish(machine: Machine):
    """Where a neighbour disturbed a calibration, a reference seems fast ever after."""
    large_s, small_s = references_s(machine)
    references = References.of(machine, [[Turn(steps_s={0: 1.0}, references_s=(large_s, small_s))]])
    disturbed = Turn(steps_s={0: 1.0}, references_s=(large_s / 1e3, 50.0 * small_s))
    found = references.drift(disturbed)
    assert min(found.computing, found.starting) == 0.1


def test_the_drift_during_steps_is_that_of_their_turns(machine: Machine):
    beside_s = references_s(machine), references_s(drifted(machine, DRIFT))
    turns = [Turn(steps_s={i: 1.0}, references_s=own) for i, own in enumerate(beside_s)]
    references = References.of(machine, [turns])
    assert references.drift_during(turns, {0}).starting == pytest.approx(1.0)
    half = references.drift_during(turns, {0, 1}).starting
    assert half == pytest.approx((1.0 + DRIFT.starting) / 2, rel=5e-3)


def test_drift_of_the_cores_is_no_misfit(machine: Machine):
    before = measured(machine, misfit=0.0, noise=1e-6)
    references = References.of(machine, [run.turns for run in before])
    after_s = references_s(drifted(machine, DRIFT))
    for run in before:
        prediction = predict(case_of(run.spec, machine))
        slower = predict(replace(prediction.case, machine=drifted(prediction.case.machine, DRIFT)))
        longer = slower.step_s / prediction.step_s
        turns = [
            Turn(steps_s={k: longer * s for k, s in t.steps_s.items()}, references_s=after_s)
            for t in run.turns
        ]
        step_s = references.calm_step(prediction, turns).step_s
        assert step_s == pytest.approx(prediction.step_s, rel=0.01), run.spec.name


def test_a_machine_without_constants_of_cores_drifts_as_a_whole():
    turns = [
        Turn(steps_s={i: 1.0}, references_s=(2.0 * by, 0.5 * by))
        for i, by in enumerate((0.9, 1.0, 1.2))
    ]
    references = References.of(named("this-host"), [turns])
    assert references.calibrated_s == [2.0, 0.5]
    drift = references.drift(turns[-1])
    assert (drift.computing, drift.starting) == pytest.approx((1.2, 1.2))


def test_a_misfit_that_noise_hides_is_what_the_runs_do_not_exclude():
    assert misfit_ratio([0.01, -0.01, 0.01, -0.01]) == pytest.approx((4e-4 / 3 / 4) ** 0.25)
