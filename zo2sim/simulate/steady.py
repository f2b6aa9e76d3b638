"""When a program repeats itself: how many periods to run, and over which to average.

Edges reach one period back, so when every operation of a period ends by the same time later than
in an earlier period, everything after repeats with that cycle. Deep prefetch fills its buffers
first, over many periods, and some programs alternate between two or more periods.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

PERIODS = 4
"""Periods to begin with: the first fills the pipeline."""
MOST_PERIODS = 96
"""Periods after which the average over the second half stands for a cycle."""
_CYCLES = (1, 2, 3, 4)
_SAME = 1e-9  # relative difference that is rounding

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


def most_periods(devices: int) -> int:
    """The same for a simulation, which takes as much longer for a period as there are devices."""
    return max(PERIODS, MOST_PERIODS // devices)


def lengths(most: int) -> Iterator[int]:
    """Numbers of periods to try up to ``most``, each twice the one before."""
    periods = PERIODS
    while periods <= most:
        yield periods
        periods *= 2


def cycles(ends: Floats) -> Numbers:
    """The cycle of every plan in periods, 0 where it does not repeat yet.

    ``ends`` are ends of operations in seconds, (periods, operations, plans).
    """
    found = np.zeros(ends.shape[2], dtype=np.int64)
    for cycle in (c for c in _CYCLES if c < ends.shape[0]):
        unknown = np.flatnonzero(found == 0)
        if not len(unknown):
            break
        among = slice(None) if len(unknown) == len(found) else unknown  # no copy at first
        shift = ends[-1][:, among] - ends[-1 - cycle][:, among]  # (operations, plans)
        low, high = shift.min(axis=0), shift.max(axis=0)
        found[unknown[high - low <= _SAME * np.abs(high)]] = cycle
    return found


def is_forced(cycle: int) -> bool:
    """Whether a cycle is none that was found, but a stretch to average over."""
    return cycle > max(_CYCLES)


def forced(periods: int) -> int:
    """The cycle to average over where nothing repeats: the second half."""
    return max(1, periods // 2)
