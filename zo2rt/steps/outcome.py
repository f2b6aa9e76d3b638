"""What a person sees of a step; what weights are rebuilt from is the journal's record."""

import math
from dataclasses import dataclass
from typing import Self

from zo2rt.journal import Record
from zo2rt.optimizer import projected_gradients


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
    wall_s: float | None
    """From the call of the step to its loss; None where only the journal knows of the step."""
    exposed_s: float | None
    """Of that, the time in which the device did not compute: copies and waits laid bare."""

    @classmethod
    def of(
        cls,
        record: Record,
        *,
        tokens: int,
        g: float | None = None,
        wall_s: float | None = None,
        exposed_s: float | None = None,
    ) -> Self:
        """What the journal's record says of a step, and what it took; ``g`` follows from it."""
        losses = record.losses
        return cls(
            step=record.step,
            loss=finite(math.fsum(losses) / len(losses)),
            g=finite(_first_g(record) if g is None else g),
            lr=record.rates[0].lr,
            skipped=record.skipped,
            tokens=tokens,
            wall_s=wall_s,
            exposed_s=exposed_s,
        )

    @property
    def tokens_per_s(self) -> float | None:
        return None if self.wall_s is None else self.tokens / self.wall_s


def _first_g(record: Record) -> float:
    losses, samples = record.losses, len(record.draws)
    microbatches = len(losses) // (2 * samples)
    found = projected_gradients(losses, samples=samples, microbatches=microbatches, eps=record.eps)
    return found[0]


def finite(value: float) -> float | None:
    """The value, or None where it is NaN or infinite."""
    return value if math.isfinite(value) else None
