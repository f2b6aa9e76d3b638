"""Predicted against measured: errors, repeatability, coverage, and the share of the rules.

Every configuration is measured in turns with a reference, so that what the machine does to both
(heat, neighbours, time of day) cancels: a turn's time is scaled by how fast the reference ran in
that turn, relative to how fast it ran when the machine was calibrated. The reference computes; a
step that waits for its link is scaled by less, as the prediction says.
"""

from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One configuration. ``measured_s`` and ``reference_s`` hold one step time per turn;
    ``calm_s`` is the mean of the calm steps, those whose durations are replayed.

    ``reference_calibrated_s`` is what the reference took when the machine was calibrated;
    ``drift_power`` is by which power of the reference's drift this step gets longer.
    ``low_s`` and ``high_s`` end the 90 % band of the prediction; ``replayed_s`` is what the
    simulator makes of the measured durations.
    """

    name: str
    predicted_s: float
    low_s: float
    high_s: float
    replayed_s: float
    measured_s: tuple[float, ...]
    reference_s: tuple[float, ...]
    calm_s: float
    reference_calibrated_s: float
    drift_power: float = 1.0

    def __post_init__(self) -> None:
        if len(self.measured_s) != len(self.reference_s) or not self.measured_s:
            raise ValueError(
                f"{self.name}: every turn needs one time of the configuration and one of the "
                f"reference; got {len(self.measured_s)} and {len(self.reference_s)}"
            )

    @cached_property
    def turns_s(self) -> Floats:
        """Step times with the machine's drift taken out."""
        drift = np.array(self.reference_s) / self.reference_calibrated_s
        return np.array(self.measured_s) / drift**self.drift_power

    @property
    def step_s(self) -> float:
        """The measured step time: the median over the turns."""
        return float(np.median(self.turns_s))

    @property
    def standard_error(self) -> float:
        """Of ``step_s``, relative: from the turns' spread, with 1.2533 for a median."""
        if len(self.turns_s) < 2:
            return nan
        spread = float(np.std(np.log(self.turns_s), ddof=1))
        return 1.2533 * spread / len(self.turns_s) ** 0.5

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
        errors = [c.standard_error for c in self.comparisons if len(c.measured_s) > 1]
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
        """How much longer the reference took than when the machine was calibrated."""
        ratios = [np.array(c.reference_s) / c.reference_calibrated_s for c in self.comparisons]
        return float(np.median(np.concatenate(ratios))) - 1.0

    def as_dict(self) -> dict[str, float | int | None]:
        """Every figure by its name; None where one turn does not tell."""
        names = ("mape", "max_ape", "mpe", "rules_mape", "repeatability", "coverage_90", "drift")
        figures = {name: getattr(self, name) for name in (*names, "band_width")}
        return {"n": self.n, **{k: None if isnan(v) else v for k, v in figures.items()}}

    @property
    def ranked(self) -> tuple[Comparison, ...]:
        """From the largest absolute error to the smallest."""
        return tuple(sorted(self.comparisons, key=lambda c: -abs(c.error)))


def coverage_interval(n: int, *, coverage: float = 0.9) -> tuple[float, float]:
    """The central 95 % of what the measured coverage of ``n`` bands would be, were they right."""
    shares = stats.binom.ppf([0.025, 0.975], n, coverage) / n  # pyright: ignore
    return float(shares[0]), float(shares[1])  # pyright: ignore
