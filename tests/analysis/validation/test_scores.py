"""Scores of a validation, with integers: drift cancels, errors and bands are counted."""

from math import nan

import pytest

from analysis.validation.scores import Comparison, Scores, coverage_interval
from zo2sim.predict.drift import Drift


def comparison(**changes: object) -> Comparison:
    base = {
        "name": "one",
        "predicted_s": 110.0,
        "low_s": 95.0,
        "high_s": 125.0,
        "replayed_s": 101.0,
        "calm_s": 100.0,
        "step_s": 100.0,
        "standard_error": 0.01,
        "disturbance": 0.05,
        "drift": 0.0,
        "machine_drift": Drift(),
        "turns": 3,
    }
    return Comparison(**{**base, **changes})


def test_error_is_relative_to_the_measurement():
    assert comparison().error == pytest.approx(0.1)
    assert comparison(predicted_s=90.0).error == pytest.approx(-0.1)
    assert comparison().rules_error == pytest.approx(0.01)


def test_scores_are_means_and_a_maximum():
    scores = Scores(comparisons=(comparison(), comparison(predicted_s=80.0, low_s=70, high_s=90)))
    assert scores.n == 2
    assert scores.mape == pytest.approx(0.15)
    assert scores.max_ape == pytest.approx(0.2)
    assert scores.mpe == pytest.approx(-0.05)
    assert scores.rules_mape == pytest.approx(0.01)
    assert scores.coverage_90 == 0.5
    assert scores.band_width == pytest.approx((30 / 110 + 20 / 80) / 2)
    assert scores.as_dict() == {
        "n": 2,
        "mape": scores.mape,
        "max_ape": scores.max_ape,
        "mpe": scores.mpe,
        "rules_mape": scores.rules_mape,
        "repeatability": pytest.approx(0.01),
        "coverage_90": 0.5,
        "band_width": scores.band_width,
        "drift": 0.0,
        "computing_drift": 0.0,
        "starting_drift": 0.0,
        "disturbance": 0.05,
    }


def test_drift_and_disturbance_are_those_of_the_middle_configuration():
    found = tuple(
        comparison(drift=d, disturbance=2 * d, machine_drift=Drift(computing=1 + d, starting=1 - d))
        for d in (0.1, 0.2, 0.9)
    )
    scores = Scores(comparisons=found)
    assert scores.drift == pytest.approx(0.2)
    assert scores.computing_drift == pytest.approx(0.2)
    assert scores.starting_drift == pytest.approx(-0.2)
    assert scores.disturbance == pytest.approx(0.4)


@pytest.mark.parametrize(("drift", "how"), [(0.11, "11% longer"), (-0.21, "21% shorter")])
def test_a_machine_that_changed_wants_another_calibration(drift: float, how: str):
    both = Drift(computing=1.02, starting=1.3)
    notice = Scores(comparisons=(comparison(drift=drift, machine_drift=both),)).drift_notice
    assert notice is not None
    assert f"Steps take {how} than when this machine was calibrated" in notice
    assert "(computing +2%, starting +30%)" in notice
    assert "calibrate again" in notice
    assert Scores(comparisons=(comparison(drift=drift / 10),)).drift_notice is None


def test_the_coverage_of_few_bands_says_little():
    low, high = coverage_interval(24)
    assert (low * 24, high) == (pytest.approx(18), 1.0)


def test_scores_need_a_configuration():
    with pytest.raises(ValueError, match="at least one configuration"):
        Scores(comparisons=())


def test_one_turn_tells_no_repeatability():
    once = comparison(standard_error=nan, turns=1)
    assert Scores(comparisons=(once,)).as_dict()["repeatability"] is None
    both = Scores(comparisons=(once, comparison(standard_error=0.02)))
    assert both.repeatability == pytest.approx(0.02)
