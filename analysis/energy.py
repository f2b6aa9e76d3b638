"""Energy from samples of power: per step, and over a run."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def energy_j(times_s: Sequence[float], power_w: Sequence[float | None], ends_s: Floats) -> Floats:
    """Joules between each two of the ``ends_s``, (ends - 1,), by the trapezoidal rule.

    Samples without power are left out; between samples power is taken to be linear. NaN where an
    interval lies outside the samples. Raises ``ValueError`` when times do not increase.
    """
    known = [(t, w) for t, w in zip(times_s, power_w, strict=True) if w is not None]
    if len(known) < 2:
        return np.full(max(0, len(ends_s) - 1), np.nan)
    times, watts = (np.array(column, dtype=np.float64) for column in zip(*known, strict=True))
    steps = np.diff(times)
    if not (steps > 0.0).all():
        raise ValueError("times of samples must increase; they do not")
    reached = np.concatenate([[0.0], np.cumsum(steps * (watts[1:] + watts[:-1]) / 2.0)])
    at_ends = np.array([_reached_j(times, watts, reached, float(end)) for end in ends_s])
    return np.diff(at_ends)


def _reached_j(times: Floats, watts: Floats, reached: Floats, end_s: float) -> float:
    """Joules from the first sample to ``end_s``."""
    if not times[0] <= end_s <= times[-1]:
        return float("nan")
    before = min(int(np.searchsorted(times, end_s, side="right")) - 1, len(times) - 2)
    power = float(np.interp(end_s, times, watts))
    since = float(reached[before])
    return since + (end_s - float(times[before])) * (float(watts[before]) + power) / 2.0
