"""What a step found out: its losses, and the record that applies its update.

The journal's record is the one form in which a step is kept; `applied` turns it into what the
noise kernels take.
"""

import math
from dataclasses import dataclass

from zo2rt.journal import Draw, Rate, Record, must_skip
from zo2rt.journal.groups import DECAYED, UNDECAYED


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """Hyper-parameters of one step. ``keys`` are the noise keys of its samples.

    ``cursor`` is the number of the first microbatch that the next step reads.
    """

    step: int
    keys: tuple[int, ...]
    lr: float
    eps: float
    weight_decay: float
    cursor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One step as its caller sees it."""

    record: Record
    projected_gradients: tuple[float, ...]
    """g of every sample, before the estimator's rule."""
    tokens: int
    """Tokens that the step read from its batch; 0 where the batch has none."""
    wall_s: float
    """From the call of the step to its loss."""
    exposed_s: float
    """Of that, the time in which the device did not compute: copies and waits laid bare."""

    @property
    def step(self) -> int:
        return self.record.step

    @property
    def losses(self) -> tuple[float, ...]:
        """Every lane's: sample x sign x microbatch, the last fastest."""
        return self.record.losses

    @property
    def loss(self) -> float:
        """Mean over the lanes, in float64 and lane order."""
        return math.fsum(self.losses) / len(self.losses)

    @property
    def skipped(self) -> bool:
        """A loss was NaN or infinite: the step changes no weight, by decay neither."""
        return self.record.skipped

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.wall_s


def recorded(
    settings: StepSettings, losses: tuple[float, ...], gradients: tuple[float, ...]
) -> Record:
    """The record of a step that applies these projected gradients, one for each key."""
    pairs = zip(settings.keys, gradients, strict=True)
    draws = tuple(Draw(key=key, g=g) for key, g in pairs)
    rates = (
        Rate(group=DECAYED, lr=settings.lr, weight_decay=settings.weight_decay),
        Rate(group=UNDECAYED, lr=settings.lr, weight_decay=0.0),
    )
    return Record(
        step=settings.step,
        losses=losses,
        draws=draws,
        rates=rates,
        eps=settings.eps,
        skipped=must_skip(losses, draws, rates),
        cursor=settings.cursor,
    )
