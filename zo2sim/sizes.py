"""Amounts as people read and write them: 18GB is 18e9 bytes, 18GiB is 18 * 2**30."""

import re
from collections.abc import Sequence
from math import floor, log10

from zo2sim.checks import shown

_UNITS = {
    "": 1,
    "b": 1,
    **{f"{p}b": 1000**i for i, p in enumerate("kmgt", 1)},
    **{f"{p}ib": 1024**i for i, p in enumerate("kmgt", 1)},
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)[\s_-]*([kmgt]?i?b?)", re.ASCII | re.IGNORECASE)
_LEAST_BYTES = 1e6
"""A bare number below is no amount of memory that anybody has: a unit was meant."""


def parse_bytes(text: str, *, flag: str) -> float:
    """Bytes of ``18GB``, ``64 gib`` or a plain large number.

    Raises ``ValueError`` naming the flag, and the sizes that a number without its unit may mean.
    """
    match = _SIZE.fullmatch(text.strip())
    number, unit = (match[1], match[2].lower()) if match is not None else ("0", "")
    value = float(number) * _UNITS.get(unit, 0)
    if value <= 0.0 or (not unit and value < _LEAST_BYTES):
        raise ValueError(
            f"{flag} must be a size above 0 such as 18GB or 64GiB; got {shown(text)}"
            f"{_meant(number, unit)}"
        )
    return value


def _meant(number: str, unit: str) -> str:
    """Both readings of ``24``, ``24G`` or ``24Gi``: of powers of ten, and of two."""
    if float(number) == 0.0 or unit not in ("", *"kmgt", "ki", "mi", "gi", "ti"):
        return ""
    letter = unit[:1].upper() or "G"
    return f"; did you mean {number}{letter}B or {number}{letter}iB?"


def show_seconds(seconds: float) -> str:
    """Three significant digits, zeros too, in the unit that suits: ``1.00 ms``, ``20.6 s``."""
    return show_times((seconds,))[0]


def show_times(column: Sequence[float]) -> tuple[str, ...]:
    """Times that are read beside each other: three digits of each, all in the unit that suits the
    one in the middle."""
    unit, factor = _unit(sorted(column)[len(column) // 2] if column else 0.0)
    return tuple(f"{_digits(seconds * factor)} {unit}" for seconds in column)


def _unit(seconds: float) -> tuple[str, float]:
    rounded = float(f"{seconds:.2e}")
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms"), (600.0, 1.0, "s")):
        if rounded < limit:
            return unit, factor
    return "min", 1.0 / 60.0


def _digits(value: float) -> str:
    """Three significant digits, and no exponent: ``0.730``, ``1.00``, ``12,300``."""
    rounded = float(f"{value:.2e}")
    places = 2 - floor(log10(abs(rounded))) if rounded else 0
    return f"{rounded:,.{max(0, places)}f}"


def show_number(value: float) -> str:
    """Four significant digits, and no exponent for large ones: ``94.15``, ``2,048``."""
    return f"{value:,.0f}" if value >= 1e4 else f"{value:,.4g}"
