"""Energy per step: constant and rising power, missing samples, steps outside them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.energy import energy_j


def test_constant_power_gives_power_times_time():
    assert energy_j([0, 1, 4], [100, 100, 100], np.array([0.5, 1.5, 3.5])).tolist() == [100, 200]


def test_rising_power_is_integrated_exactly():
    assert energy_j([0, 4], [0, 8], np.array([0.0, 2.0, 4.0])).tolist() == [4, 12]


def test_a_sample_without_power_is_left_out():
    assert energy_j([0, 1, 2], [10, None, 10], np.array([0.0, 2.0])).tolist() == [20]


def test_a_step_outside_the_samples_is_not_known():
    found = energy_j([1, 2], [10, 10], np.array([0.0, 1.5, 2.0]))
    assert np.isnan(found[0])
    assert found[1] == 5


def test_one_sample_is_no_energy():
    assert np.isnan(energy_j([1], [10], np.array([0.0, 1.0]))).all()


def test_times_must_increase():
    with pytest.raises(ValueError, match="must increase"):
        energy_j([1, 1], [10, 10], np.array([1.0, 1.0]))


@given(
    watts=st.lists(st.floats(0, 700), min_size=2, max_size=20),
    cuts=st.lists(st.floats(0, 1), min_size=1, max_size=10),
)
def test_steps_add_up_to_the_whole(watts: list[float], cuts: list[float]):
    times = [float(i) for i in range(len(watts))]
    ends = np.array(sorted({0.0, times[-1], *(c * times[-1] for c in cuts)}))
    whole = np.trapezoid(watts, times)
    assert energy_j(times, watts, ends).sum() == pytest.approx(whole, rel=1e-9, abs=1e-9)
