"""What a person sees of a step; what weights are rebuilt from is the journal's record."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One step. ``loss`` and ``g`` are None where they are not finite: JSON and tables have no NaN.

    A ``skipped`` step changes no weight, by decay neither: a loss was NaN or infinite.
    """

    step: int
    loss: float | None
    """Mean over the lanes, in float64 and lane order."""
    g: float | None
    """The projected gradient of its first sample, before the estimator's rule."""
    lr: float
    skipped: bool
    tokens: int
    """Tokens that the step read from its batch; 0 where the batch has none."""
    wall_s: float
    """From the call of the step to its loss."""
    exposed_s: float
    """Of that, the time in which the device did not compute: copies and waits laid bare."""

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.wall_s


def finite(value: float) -> float | None:
    """The value, or None where it is NaN or infinite."""
    return value if math.isfinite(value) else None
