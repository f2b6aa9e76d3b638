"""The undisturbed step: what disturbs most of the turns moves it little, drift moves it not."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zo2rt.measure.calm import Turn, calm_s, calm_step


def turns_of(*durations_s: list[float]) -> list[Turn]:
    """A turn per list; steps are numbered through."""
    found: list[Turn] = []
    first = 0
    for own in durations_s:
        steps_s = {first + i: seconds for i, seconds in enumerate(own)}
        found.append(Turn(steps_s=steps_s, references_s=()))
        first += len(own)
    return found


def test_the_fastest_third_counts():
    assert calm_s([6.0, 1.0, 9.0, 3.0, 7.0, 8.0]) == 2.0
    assert calm_s([5.0, 4.0]) == 4.0
    with pytest.raises(ValueError, match="at least one duration"):
        calm_s([])


def test_disturbed_steps_count_as_disturbance_only():
    step = calm_step(turns_of([5.0, 8.0, 8.0], [8.0, 8.0, 5.0]), period=1)
    assert step.step_s == 5.0
    assert step.steps_s == {0: 5.0, 5: 5.0}
    assert step.disturbance == pytest.approx(0.6)
    assert step.drift == 0.0


def test_every_place_of_a_period_has_its_own_fastest_third():
    """Steps of 4 and 9 s in turn: the mean step is 6.5 s, however fast the places are."""
    step = calm_step(turns_of([4.0, 9.0] * 3, [5.0, 90.0] * 3), period=2)
    assert step.step_s == 6.5
    assert step.steps_s == {0: 4.0, 1: 9.0, 2: 4.0, 3: 9.0}


def test_drift_is_taken_out():
    step = calm_step(turns_of([11.0], [11.0]), period=1, longer=[1.1, 1.1])
    assert step.step_s == pytest.approx(10.0)
    assert step.drift == pytest.approx(0.1)
    assert step.steps_s[0] == 11.0


@given(drift=st.lists(st.floats(0.5, 2.0), min_size=2, max_size=9))
def test_drift_that_is_known_never_shows(drift: list[float]):
    step = calm_step(turns_of(*([100 * d] for d in drift)), period=1, longer=drift)
    assert step.step_s == pytest.approx(100)
    assert step.standard_error == pytest.approx(0.0, abs=1e-9)
    assert step.disturbance == pytest.approx(0.0, abs=1e-9)


def test_the_standard_error_is_the_scatter_of_repetitions():
    """A machine that is disturbed half of the time, by a third; 12 turns of 3 steps each."""
    rng = np.random.default_rng(3)
    found: list[float] = []
    told: list[float] = []
    for _ in range(200):
        disturbed = rng.random(12) < 0.5
        noise = np.exp(0.02 * rng.standard_normal((12, 3)))
        durations = (np.where(disturbed, 1.33, 1.0)[:, None] * noise).tolist()
        step = calm_step(turns_of(*durations), period=1)
        found.append(step.step_s)
        told.append(step.standard_error)
    assert np.std(np.log(found)) == pytest.approx(np.mean(told), rel=0.35)
    assert np.mean(found) == pytest.approx(1.0, abs=0.03)


def test_one_turn_has_no_standard_error():
    assert isnan(calm_step(turns_of([5.0, 5.0]), period=1).standard_error)
    with pytest.raises(ValueError, match="at least one turn"):
        calm_step([], period=1)
