"""How many weights an update leaves as they were, because it is smaller than half their grid.

At a learning rate of 1e-6 most elements of a bf16 master never change (DESIGN 13, 13); stochastic
rounding or a wider master with a narrow wire is the way out. Samples of some matrices tell.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from zo2rt.model.units import UnitParameter
from zo2rt.noise import Update

SAMPLE = 256
"""Elements of a matrix that are looked at."""
EVERY = 13
"""Of so many matrices one is looked at, each in its turn: a look takes 20 us, and an update of a
small matrix little more."""
WORTH_TELLING = 0.1
"""Of gaussian updates as many are lost where their deviation is eight times half the grid: there is
always one that happens to be small. More than that says that the grid is too coarse."""


@dataclass(slots=True)
class Swallowed:
    """Counts over every update so far. ``thresholds`` are Sparse-MeZO's: what is above stays."""

    thresholds: Mapping[str, float] = field(default_factory=lambda: {})
    seen: int = 0
    unchanged: int = 0
    passed: int = 0

    @property
    def fraction(self) -> float | None:
        """Of the sampled elements, those that an update left as they were; None before any."""
        return self.unchanged / self.seen if self.seen else None

    @contextmanager
    def watching(
        self, parameter: UnitParameter, theta: Tensor, updates: Sequence[Update]
    ) -> Iterator[None]:
        """Around an update of a parameter in half precision on the host; free for all others."""
        narrow = theta.element_size() < 4 and theta.device.type == "cpu"
        if not (narrow and parameter.decays) or not updates:
            yield
            return
        self.passed += 1
        if self.passed % EVERY != 1:
            yield
            return
        sample = theta.view(-1)[:SAMPLE]
        before = sample.clone()
        yield
        threshold = self.thresholds.get(parameter.name, math.inf)
        if threshold < math.inf:
            trained = before.abs() <= threshold
            before, sample = before[trained], sample[trained]
        self.seen += sample.numel()
        self.unchanged += int((sample == before).sum())


def told(fraction: float | None, *, remedy: str) -> str | None:
    """For people: how much is lost and what to do; None where it is not worth telling."""
    if fraction is None or fraction < WORTH_TELLING:
        return None
    return (
        f"rounding swallowed about {fraction:.0%} of the updates, which were smaller than half the "
        f"grid of their weights; {remedy}"
    )
