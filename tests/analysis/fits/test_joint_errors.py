"""How the errors of constants add up in a step."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.fits.law import Fit
from analysis.fits.machine import together_ratio
from tests.calibrated import calibrated_host
from tests.zo2sim.cost.test_cpu import case
from zo2sim.machines.what_if import replace_all
from zo2sim.plan.choices import Plan, Policy
from zo2sim.predict.bands import drawn_sigma, step_slopes
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict

WIDE = 1.2


def resident(wide: float | None = WIDE) -> Case:
    return replace(case(Plan(policy=Policy.RESIDENT)), machine=calibrated_host(wide))


def fit_of(one: Case, correlation: float) -> Fit:
    """All constants of the case as uncertain as their intervals say; the two largest together."""
    keys = tuple(sorted(step_slopes(one)))
    sigmas = np.array([drawn_sigma(one.machine, key) for key in keys])
    correlations = np.eye(len(keys))
    slopes = step_slopes(one)
    i, j = sorted(range(len(keys)), key=lambda number: -slopes[keys[number]])[:2]
    correlations[i, j] = correlations[j, i] = correlation
    return Fit(
        keys=keys,
        log_seconds=np.zeros(len(keys)),
        covariance=correlations * np.outer(sigmas, sigmas),
        rows=(),
        residuals=np.zeros(0),
        log_sigmas={},
    )


def test_slopes_are_what_a_slower_constant_does():
    one = resident()
    slopes = step_slopes(one)
    assert sum(slopes.values()) == pytest.approx(1.0, abs=0.05)
    key = "cpu.launch_s"
    slower = replace_all(one.machine, {key: one.machine.quantities[key].value * 1.1})
    ratio = predict(replace(one, machine=slower)).step_s / predict(one).step_s
    assert ratio - 1.0 == pytest.approx(0.1 * slopes[key], rel=0.05)


def test_independent_errors_add_up_as_they_are_drawn():
    one = resident()
    assert together_ratio(fit_of(one, 0.0), [one]) == pytest.approx(1.0)


def test_errors_that_cancel_and_errors_that_do_not():
    one = resident()
    assert together_ratio(fit_of(one, -0.9), [one]) < 0.99
    assert together_ratio(fit_of(one, 0.9), [one]) > 1.01


def test_where_nothing_is_drawn_nothing_is_scaled():
    assert together_ratio(fit_of(resident(), 0.0), [resident(None)]) == 1.0


def test_a_fit_that_tells_next_to_nothing_gives_what_a_machine_file_may_say():
    one = resident()
    fit = fit_of(one, 0.0)
    assert together_ratio(replace(fit, covariance=1e6 * fit.covariance), [one]) == 100.0
