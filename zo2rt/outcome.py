"""From losses to projected gradients: what a step found out, and the records that apply it."""

import math
from dataclasses import dataclass

from zo2rt.noise import Record
from zo2sim.plan import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """Hyper-parameters of one step. ``keys`` are the noise keys of its samples."""

    step: int
    keys: tuple[int, ...]
    lr: float
    eps: float
    weight_decay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one step gave: every lane's loss in lane order, and g of every sample.

    ``decayed`` and ``undecayed`` are the records of the two parameter groups; an evaluation has
    neither. A step whose loss
    is NaN or infinite is ``skipped``: it changes no weight, by decay neither.
    """

    step: int
    losses: tuple[float, ...]
    projected_gradients: tuple[float, ...] = ()
    skipped: bool = False
    decayed: Record | None = None
    undecayed: Record | None = None

    def record(self, *, decays: bool) -> Record:
        """What to apply to a parameter that decays, or to one that does not."""
        record = self.decayed if decays else self.undecayed
        assert record is not None, "an evaluation has nothing to apply"
        return record

    @property
    def loss(self) -> float:
        """Mean over the lanes, in float64 and lane order."""
        return math.fsum(self.losses) / len(self.losses)


def outcome(settings: StepSettings, losses: tuple[float, ...], recipe: Recipe) -> Outcome:
    """g = (mean loss of W+ - mean loss of W-) / (2 eps) per sample, in float64 and lane order."""
    count = recipe.microbatches
    gradients: list[float] = []
    for sample in range(recipe.samples):
        plus, minus = (
            sum(losses[first : first + count]) / count
            for first in (2 * sample * count, (2 * sample + 1) * count)
        )
        gradients.append((plus - minus) / (2.0 * settings.eps))
    skipped = not all(map(math.isfinite, (*losses, *gradients)))

    def record(weight_decay: float) -> Record:
        return Record(
            step=settings.step,
            sample_keys=settings.keys,
            projected_gradients=tuple(gradients),
            lr=settings.lr,
            weight_decay=weight_decay,
            eps=settings.eps,
            skipped=skipped,
        )

    return Outcome(
        step=settings.step,
        losses=losses,
        projected_gradients=tuple(gradients),
        skipped=skipped,
        decayed=record(settings.weight_decay),
        undecayed=record(0.0),
    )
