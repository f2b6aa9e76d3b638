"""A figure that was measured several times: its median, and the range."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median


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
