"""How many weights an update leaves as they were, because it is smaller than half their grid.

At a learning rate of 1e-6 most elements of a bf16 master never change (DESIGN 13, 13); stochastic
rounding or a wider master with a narrow wire is the way out. Samples of some matrices tell.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from zo2rt.model.units import UnitParameter

SAMPLE = 256
"""Elements of a matrix that are looked at."""
EVERY = 13
"""Of so many matrices one is looked at, each in its turn: a look takes 20 us, and an update of a
small matrix little more."""


@dataclass(slots=True)
class Swallowed:
    """Counts over every update so far."""

    seen: int = 0
    unchanged: int = 0
    passed: int = 0

    @property
    def fraction(self) -> float:
        """Of the sampled elements, those that an update left as they were; 0 before any."""
        return self.unchanged / self.seen if self.seen else 0.0

    @contextmanager
    def watching(self, parameter: UnitParameter, theta: Tensor) -> Iterator[None]:
        """Around an update of a parameter in half precision on the host; free for all others."""
        narrow = theta.element_size() < 4 and theta.device.type == "cpu"
        if not (narrow and parameter.decays):
            yield
            return
        self.passed += 1
        if self.passed % EVERY != 1:
            yield
            return
        sample = theta.view(-1)[:SAMPLE]
        before = sample.clone()
        yield
        self.seen += sample.numel()
        self.unchanged += int((sample == before).sum())
