"""Measuring several things in turn: a machine that slows down then slows both sides of a ratio.

A `Spread` is a figure that was measured several times: its median, and the range.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from experiments.screen import progress_bar


@dataclass(frozen=True, slots=True)
class Spread:
    """Values in the order in which they were measured."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a spread must have at least 1 value; got none")

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        return cls(tuple(values))

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def over(self, other: "Spread") -> "Spread":
        """Ratios of what was measured in pairs."""
        return Spread.of(a / b for a, b in zip(self.values, other.values, strict=True))

    def times(self, factor: float) -> "Spread":
        return Spread.of(value * factor for value in self.values)

    def figures(self, name: str) -> dict[str, float]:
        """``name``, ``name_low`` and ``name_high``."""
        return {name: self.median, f"{name}_low": self.low, f"{name}_high": self.high}


Measure = Callable[[], float]
"""Measures once and returns the value."""


def in_turn(measures: Mapping[str, Measure], rounds: int) -> dict[str, Spread]:
    """Every measure once per round, in the order given."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    with progress_bar() as progress:
        task = progress.add_task("measuring", total=rounds * len(measures))
        for _ in range(rounds):
            for name, measure in measures.items():
                values[name].append(measure())
                progress.advance(task)
    return {name: Spread.of(measured) for name, measured in values.items()}


def timed_s(work: Callable[[], object], *, times: int = 1) -> float:
    """Seconds of one call, on average."""
    start_s = perf_counter()
    for _ in range(times):
        work()
    return (perf_counter() - start_s) / times
