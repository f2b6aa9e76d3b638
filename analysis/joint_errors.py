"""How the errors of fitted constants add up in a step: they are not independent.

Constants that rows hardly tell apart have errors that cancel: where one comes out too large the
other is too small, and their sum is known better than either. A machine file keeps an interval per
constant, and one ratio for what the intervals cannot say.
"""

from collections.abc import Iterable

import numpy as np

from analysis.calibration import Fit
from zo2sim.predict.bands import drawn_sigma, step_slopes
from zo2sim.predict.case import Case


def together_ratio(fit: Fit, cases: Iterable[Case]) -> float:
    """The spread of the cases' steps by the fit's covariance, over that of independent constants.

    The cases are on the fitted machine; both spreads are root mean squares over them. 1 where a
    hasty fit tells no constant well enough to draw it.
    """
    joint = independent = 0.0
    for case in cases:
        found = step_slopes(case)
        slopes = np.array([found.get(key, 0.0) for key in fit.keys])
        sigmas = np.array([drawn_sigma(case.machine, k) if k in found else 0.0 for k in fit.keys])
        joint += float(slopes @ fit.covariance @ slopes)
        independent += float(((slopes * sigmas) ** 2).sum())
    return (joint / independent) ** 0.5 if independent > 0.0 else 1.0
