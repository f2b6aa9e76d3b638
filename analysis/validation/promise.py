"""What a validation promises, and whether the scores keep it.

An error may exceed what is promised by what the measurement itself scatters by.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan

from analysis.validation.scores import TITLES, Scores, coverage_interval

MAPE, MAX_APE, MPE, RULES_MAPE = 0.03, 0.08, 0.015, 0.01
BAND_WIDTH = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One figure of `Scores`, and the range that its magnitude must lie in."""

    name: str
    value: float
    least: float = 0.0
    most: float = 1.0

    @property
    def kept(self) -> bool:
        """The figure is what was promised."""
        return self.least <= abs(self.value) <= self.most

    @property
    def sentence(self) -> str:
        """For a person to read, where it is not kept."""
        if self.least > 0.0:
            return (
                f"{TITLES[self.name]}: must lie in {self.least:.0%} to {self.most:.0%}; "
                f"it is {self.value:.0%}"
            )
        return f"{TITLES[self.name]}: must be at most {self.most:.2%}; it is {abs(self.value):.2%}"


def promises(scores: Scores) -> Iterator[Promise]:
    """Every promise on a validation of as many configurations."""
    slack = 0.0 if isnan(scores.repeatability) else scores.repeatability
    yield Promise(name="mape", value=scores.mape, most=max(MAPE, 1.5 * slack))
    yield Promise(name="max_ape", value=scores.max_ape, most=MAX_APE + slack)
    yield Promise(name="mpe", value=scores.mpe, most=MPE + slack)
    yield Promise(name="rules_mape", value=scores.rules_mape, most=RULES_MAPE)
    low, high = coverage_interval(scores.n)
    yield Promise(name="coverage_90", value=scores.coverage_90, least=low, most=high)
    yield Promise(name="band_width", value=scores.band_width, most=BAND_WIDTH)
