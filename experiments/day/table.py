"""One page: what was predicted, what was measured, and how far apart they are."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any

from analysis.report.wording import DASH, SPACE, seconds, signed_percent

_HEADINGS = ("configuration", "predicted", "90 % band", "measured", "error", "in it")
_LINE = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A configuration; ``measured_s`` is None where it was not measured."""

    name: str
    setting: str
    predicted_s: float
    low_s: float
    high_s: float
    measured_s: float | None = None

    @property
    def error(self) -> float | None:
        """How far the prediction is above the measurement, relative to it."""
        return None if self.measured_s is None else self.predicted_s / self.measured_s - 1.0

    @property
    def in_band(self) -> bool | None:
        if self.measured_s is None:
            return None
        return self.low_s <= self.measured_s <= self.high_s

    @property
    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "error": self.error, "in_band": self.in_band}

    @property
    def cells(self) -> tuple[str, ...]:
        shown = "" if self.in_band is None else ("yes" if self.in_band else "no")
        return (
            self.name,
            seconds(self.predicted_s),
            f"{seconds(self.low_s)} to {seconds(self.high_s)}",
            DASH if self.measured_s is None else seconds(self.measured_s),
            DASH if self.error is None else signed_percent(self.error),
            shown,
        )


def table_text(rows: Sequence[Row]) -> str:
    """Aligned columns, and below them what each configuration is, in lines of 80 characters."""
    cells = [_HEADINGS, *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(each, widths) for each in cells]
    return "\n".join([*lines, "", *map(_explained, rows)]) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    shown = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return "  ".join(shown).replace(SPACE, " ").rstrip()


def _explained(row: Row) -> str:
    return fill(f"{row.name}: {row.setting}", _LINE, subsequent_indent="  ")
