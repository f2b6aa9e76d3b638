"""What stands behind a machine's constants: the sizes that calibrated them, and real runs since.

Neither changes a prediction; both are said beside every one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from zo2sim.checks import check_text, positive

SIZES: Mapping[str, str] = {
    "sequence": "tokens of a sequence",
    "lane_tokens": "tokens of a lane",
    "num_lanes": "lanes",
    "num_blocks": "blocks",
    "block_bytes": "bytes of a block",
    "vocabulary": "words of the vocabulary",
}
"""Sizes of a case by name (`zo2sim.predict.extrapolation` finds them), and in words."""
CHOICES = (
    *("storage_dtype", "wire_dtype", "compute_dtype", "noise"),
    *("pinning", "tier", "update_on"),
)
"""Choices that a calibrated constant depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """From the smallest to the largest value that was calibrated with."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if positive("low", self.low) > positive("high", self.high):
            raise ValueError(f"low <= high must hold; got {self.low:g} and {self.high:g}")

    def holds(self, value: float) -> bool:
        """The value lies in the range."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """The range of every size, and the choices, of the runs behind the constants."""

    source: str
    ranges: tuple[tuple[str, Range], ...]
    choices: tuple[tuple[str, tuple[str, ...]], ...]

    def __post_init__(self) -> None:
        check_text("calibrated.source", self.source)
        _check_names("size", [name for name, _ in self.ranges], tuple(SIZES))
        _check_names("choice", [name for name, _ in self.choices], CHOICES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Errors on ``n`` real runs that calibration never saw, as `analysis.validation.scores` has
    them.

    ``constants`` is `Machine.constants` at the time: it says whether this is still that machine.
    """

    n: int
    mape: float
    max_ape: float
    mpe: float
    coverage_90: float
    constants: str
    date: str
    source: str

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"validation.n must be >= 1; got {self.n}")
        for name in ("mape", "max_ape", "coverage_90"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"validation.{name} must be >= 0; got {getattr(self, name):g}")
        if not abs(self.mpe) < float("inf"):
            raise ValueError(f"validation.mpe must be finite; got {self.mpe:g}")
        for name in ("constants", "date", "source"):
            check_text(f"validation.{name}", getattr(self, name))

    @property
    def sentence(self) -> str:
        """For people, beside a prediction."""
        return (
            f"{self.mape:.1%} mean, {self.max_ape:.1%} worst, {self.mpe:+.1%} signed; 90 % bands "
            f"held {self.coverage_90:.0%} (n = {self.n}, {self.date})"
        )


def _check_names(what: str, names: list[str], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"a calibrated {what} must be one of {', '.join(known)}; got {name!r}")
