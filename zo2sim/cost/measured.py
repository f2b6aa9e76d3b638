"""A measured duration beside what it took: the rows from which constants are fitted."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One duration, in seconds, of something that takes known amounts of known constants.

    ``amounts`` is by dotted key of a machine's constant (`zo2sim.cost.cpu`); ``known_s`` is a part
    of the duration that needs no fit. Rows of one ``group`` scatter alike; rows of one ``name`` are
    the same thing measured again. What was timed ``in_loop``, with nothing else in between, is
    faster than in a run by a factor that its group shares.
    """

    group: str
    name: str
    amounts: Mapping[str, float]
    seconds: float
    known_s: float = 0.0
    in_loop: bool = False

    def __post_init__(self) -> None:
        if not (isfinite(self.seconds) and self.seconds > 0.0):
            raise ValueError(f"{self.name}: seconds must be finite and > 0; got {self.seconds!r}")
        if not any(amount > 0.0 for amount in self.amounts.values()):
            raise ValueError(f"{self.name}: a measurement must take some amount; got none")
