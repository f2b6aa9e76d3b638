"""Scores of a validation, with integers: drift cancels, errors and bands are counted."""

from math import nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.validation import Comparison, Scores, coverage_interval


def comparison(**changes: object) -> Comparison:
    base = {
        "name": "one",
        "predicted_s": 110.0,
        "low_s": 95.0,
        "high_s": 125.0,
        "replayed_s": 101.0,
        "measured_s": (100.0, 100.0, 100.0),
        "calm_s": 100.0,
        "reference_s": (10.0, 10.0, 10.0),
        "reference_calibrated_s": 10.0,
    }
    return Comparison(**{**base, **changes})


def test_a_machine_that_slows_both_down_changes_nothing():
    drifted = comparison(measured_s=(100.0, 200.0, 150.0), reference_s=(10.0, 20.0, 15.0))
    assert drifted.turns_s.tolist() == [100, 100, 100]
    assert drifted.step_s == 100
    assert drifted.standard_error == 0


def test_error_is_relative_to_the_measurement():
    assert comparison().error == pytest.approx(0.1)
    assert comparison(predicted_s=90.0).error == pytest.approx(-0.1)
    assert comparison().rules_error == pytest.approx(0.01)


def test_the_standard_error_is_that_of_a_median():
    turns = (98.0, 100.0, 102.0)
    spread = float(np.std(np.log(turns), ddof=1))
    assert comparison(measured_s=turns).standard_error == pytest.approx(1.2533 * spread / 3**0.5)


def test_one_turn_has_no_standard_error():
    single = comparison(measured_s=(100.0,), reference_s=(10.0,))
    assert single.standard_error is nan or np.isnan(single.standard_error)


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
        "repeatability": 0.0,
        "coverage_90": 0.5,
        "drift": 0.0,
        "band_width": scores.band_width,
    }


def test_drift_since_calibration_is_told_and_taken_out():
    slow = comparison(measured_s=(120.0,), reference_s=(12.0,))
    assert slow.step_s == pytest.approx(100.0)
    assert Scores(comparisons=(slow,)).drift == pytest.approx(0.2)


@given(drift=st.lists(st.floats(0.5, 2.0), min_size=1, max_size=9))
def test_common_drift_never_shows(drift: list[float]):
    times = comparison(
        measured_s=tuple(100 * d for d in drift), reference_s=tuple(10 * d for d in drift)
    )
    assert times.step_s == pytest.approx(100)


def test_the_coverage_of_few_bands_says_little():
    low, high = coverage_interval(24)
    assert (low * 24, high) == (pytest.approx(18), 1.0)


def test_turns_come_in_pairs():
    with pytest.raises(ValueError, match="got 3 and 1"):
        comparison(reference_s=(10.0,))
    with pytest.raises(ValueError, match="at least one configuration"):
        Scores(comparisons=())


def test_one_turn_tells_no_repeatability():
    once = comparison(measured_s=(100.0,), reference_s=(10.0,))
    assert Scores(comparisons=(once,)).as_dict()["repeatability"] is None
