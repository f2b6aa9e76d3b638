"""From a step's losses to the coefficients that its update applies: small pure pieces."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Rule = Literal["sgd", "sign"]
"""'sgd': the update follows g (MeZO, arXiv:2305.17333); 'sign': only its sign counts
(ZO-signSGD, Liu et al., ICLR 2019)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """What of a projected gradient g reaches the weights. Nothing here keeps dense state."""

    rule: Rule = "sgd"
    clip: float | None = None
    """Bound on the magnitude of every g, before the rule; None leaves it alone."""

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}; got {self.rule!r}")
        if self.clip is not None and not self.clip > 0.0:
            raise ValueError(f"clip must be > 0, or None to leave g alone; got {self.clip}")

    def applied(self, g: float) -> float:
        """The g that the update uses; a NaN stays one."""
        if self.clip is not None:
            g = max(-self.clip, min(self.clip, g)) if g == g else g
        if self.rule == "sign" and g == g:
            return float((g > 0.0) - (g < 0.0))
        return g


def projected_gradients(
    losses: Sequence[float], *, samples: int, microbatches: int, eps: float
) -> tuple[float, ...]:
    """g = (mean loss of W+ - mean loss of W-) / (2 eps) per sample, in float64 and lane order.

    ``losses`` are (sample, sign, microbatch), the last fastest.
    """
    assert len(losses) == 2 * samples * microbatches
    means = [
        sum(losses[first : first + microbatches]) / microbatches
        for first in range(0, len(losses), microbatches)
    ]
    pairs = zip(means[::2], means[1::2], strict=True)
    return tuple((plus - minus) / (2.0 * eps) for plus, minus in pairs)
