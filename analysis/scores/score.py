"""One measurement of others beside its prediction, with and without what its source has told."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["product", "link", "forward", "streamed", "decode"]
"""A large product; a copy; a forward of a resident model, or of one that streams; and tokens that
are generated, each by a forward of one token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A prediction and the ends of its 90 % band."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """``found`` may rest on this very source; ``left_out`` owes nothing to it."""

    name: str
    kind: Kind
    unit: str
    source: str
    measured: float
    found: Guess
    left_out: Guess

    @property
    def error(self) -> float:
        """Relative, of the prediction that owes nothing to the source."""
        return self.left_out.value / self.measured - 1.0

    @property
    def held(self) -> bool:
        """The measurement lies in the band of that prediction."""
        return self.left_out.low <= self.measured <= self.left_out.high

    @property
    def width(self) -> float:
        """Of that band, relative to its prediction."""
        return (self.left_out.high - self.left_out.low) / self.left_out.value

    @property
    def record(self) -> dict[str, Any]:
        """The score as plain data."""
        return {**asdict(self), "error": self.error, "held": self.held, "width": self.width}
