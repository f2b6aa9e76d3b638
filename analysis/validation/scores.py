"""Predicted against measured: errors, repeatability, coverage, and the share of the rules.

Every configuration is measured in turns with two references (`zo2rt.measure.turns`), so that what
the machine does to all (heat, time of day) cancels: a turn's steps are scaled by how fast the
references ran around it, relative to when the machine was calibrated. One computes, the other
starts operations and copies; a step is scaled by its shares of both, as the prediction says, and
hardly where it waits for its link. What disturbs a machine for moments only is left out
(`zo2rt.measure.calm`).
"""

from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

from zo2sim.predict.drift import Drift

Floats = NDArray[np.float64]
_DRIFTED = 0.05
"""From here on another calibration is due: two drifts do not describe all that changed."""

TITLES = {
    "n": "configurations",
    "mape": "mean absolute error",
    "max_ape": "largest absolute error",
    "mpe": "mean signed error",
    "rules_mape": "of which the rules",
    "repeatability": "measurements repeat within",
    "coverage_90": "measurements in their 90 % band",
    "band_width": "mean width of the bands",
    "drift": "drift since calibration",
    "computing_drift": "drift in computing",
    "starting_drift": "drift in starting",
    "disturbance": "median step above a calm one",
}
"""What people call each figure of `Scores.as_dict`."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One configuration: predicted, and measured in ``turns`` turns.

    ``step_s`` is the measured step, undisturbed and with the machine's drift since calibration
    taken out: ``drift`` is how much longer that made it, ``machine_drift`` the machine's own;
    ``standard_error`` is relative to it, NaN after one turn. ``disturbance`` is how much longer the
    median step took. ``low_s`` and ``high_s`` end the 90 % band of the prediction. ``replayed_s``
    is what the simulator makes of the durations that were measured in the steps of which ``calm_s``
    is the mean.
    """

    name: str
    predicted_s: float
    low_s: float
    high_s: float
    replayed_s: float
    calm_s: float
    step_s: float
    standard_error: float
    disturbance: float
    drift: float
    machine_drift: Drift
    turns: int

    @property
    def error(self) -> float:
        """How far the prediction is above the measurement, relative to the measurement."""
        return self.predicted_s / self.step_s - 1.0

    @property
    def rules_error(self) -> float:
        """The same for the measured durations, replayed; against the mean of the same steps."""
        return self.replayed_s / self.calm_s - 1.0

    @property
    def cost_error(self) -> float:
        """What the durations add to the error: all of it, less that of the rules."""
        return self.error - self.rules_error

    @property
    def covered(self) -> bool:
        """The measurement lies in the band."""
        return self.low_s <= self.step_s <= self.high_s

    @property
    def width(self) -> float:
        """Of the band, relative to the prediction."""
        return (self.high_s - self.low_s) / self.predicted_s


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The errors over all configurations."""

    comparisons: tuple[Comparison, ...]

    def __post_init__(self) -> None:
        if not self.comparisons:
            raise ValueError("a validation needs at least one configuration; got none")

    @property
    def n(self) -> int:
        return len(self.comparisons)

    @cached_property
    def errors(self) -> Floats:
        """Signed relative errors, in the order of the configurations."""
        return np.array([c.error for c in self.comparisons])

    @property
    def mape(self) -> float:
        """Mean absolute relative error."""
        return float(np.abs(self.errors).mean())

    @property
    def max_ape(self) -> float:
        """Largest absolute relative error."""
        return float(np.abs(self.errors).max())

    @property
    def mpe(self) -> float:
        """Mean signed relative error: above 0 where predictions are too slow."""
        return float(self.errors.mean())

    @property
    def rules_mape(self) -> float:
        """Mean absolute error of the simulator on measured durations."""
        return float(np.mean([abs(c.rules_error) for c in self.comparisons]))

    @property
    def cost_mape(self) -> float:
        """Mean absolute error that is left when that of the rules is taken away."""
        return float(np.mean([abs(c.cost_error) for c in self.comparisons]))

    @property
    def repeatability(self) -> float:
        """The paired standard error, in the mean over the configurations; NaN after one turn."""
        errors = [c.standard_error for c in self.comparisons if not isnan(c.standard_error)]
        return float(np.mean(errors)) if errors else nan

    @property
    def coverage_90(self) -> float:
        """Share of the measurements that lie in their 90 % band."""
        return float(np.mean([c.covered for c in self.comparisons]))

    @property
    def band_width(self) -> float:
        """Mean width of the bands, relative to the predictions."""
        return float(np.mean([c.width for c in self.comparisons]))

    @property
    def drift(self) -> float:
        """How much longer the median step took because the machine had drifted."""
        return float(np.median([c.drift for c in self.comparisons]))

    @property
    def computing_drift(self) -> float:
        """How much longer computing took than when the machine was calibrated."""
        return float(np.median([c.machine_drift.computing for c in self.comparisons])) - 1.0

    @property
    def starting_drift(self) -> float:
        """The same of starting operations, lanes and copies."""
        return float(np.median([c.machine_drift.starting for c in self.comparisons])) - 1.0

    @property
    def has_references(self) -> bool:
        """Reference runs told how the machine drifted; they never tell that it did not at all."""
        return any(c.drift != 0.0 or c.machine_drift != Drift() for c in self.comparisons)

    @property
    def drift_notice(self) -> str | None:
        """What to do about a machine that is no longer the one that was calibrated."""
        if abs(self.drift) <= _DRIFTED:
            return None
        how = "longer" if self.drift > 0.0 else "shorter"
        return (
            f"Steps take {abs(self.drift):.0%} {how} than when this machine was calibrated "
            f"(computing {self.computing_drift:+.0%}, starting {self.starting_drift:+.0%}): "
            "calibrate again before you rely on its predictions."
        )

    @property
    def disturbance(self) -> float:
        """How much longer the median step took than an undisturbed one, over the configurations."""
        return float(np.median([c.disturbance for c in self.comparisons]))

    def as_dict(self) -> dict[str, float | int | None]:
        """Every figure by its name; None where one turn does not tell."""
        names = ("mape", "max_ape", "mpe", "rules_mape", "repeatability", "coverage_90")
        more = ("band_width", "drift", "computing_drift", "starting_drift", "disturbance")
        figures = {name: getattr(self, name) for name in (*names, *more)}
        return {"n": self.n, **{k: None if isnan(v) else v for k, v in figures.items()}}

    @property
    def ranked(self) -> tuple[Comparison, ...]:
        """From the largest absolute error to the smallest."""
        return tuple(sorted(self.comparisons, key=lambda c: -abs(c.error)))


def coverage_interval(n: int) -> tuple[float, float]:
    """The central 95 % of what would be measured of ``n`` bands that hold in 90 %."""
    shares = stats.binom.ppf([0.025, 0.975], n, 0.9) / n  # pyright: ignore
    return float(shares[0]), float(shares[1])  # pyright: ignore
