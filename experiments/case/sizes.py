"""Amounts of memory as people write them: 18GB is 18e9 bytes, 18GiB is 18 * 2**30."""

import re

from zo2sim.memory.account import show_bytes

__all__ = ["parse_bytes", "show_bytes", "show_number", "show_seconds"]

_UNITS = {"": 1, "B": 1}
_UNITS |= {p + "B": 1000**i for i, p in enumerate("KMGT", 1)}
_UNITS |= {p + "iB": 1024**i for i, p in enumerate("KMGT", 1)}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B?)", re.ASCII)


def parse_bytes(text: str, *, flag: str) -> float:
    """Bytes of ``18GB``, ``64 GiB`` or a plain number. Raises ``ValueError`` naming the flag."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2] not in _UNITS or float(match[1]) == 0.0:
        raise ValueError(f"{flag} must be a size above 0 such as 18GB or 64GiB; got {text!r}")
    return float(match[1]) * _UNITS[match[2]]


def show_seconds(seconds: float) -> str:
    """Three significant digits, in the unit that suits."""
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms"), (600.0, 1.0, "s")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds / 60.0:.3g} min"


def show_number(value: float) -> str:
    """Four significant digits, and no exponent for large ones: ``94.15``, ``20,480``."""
    return f"{value:,.0f}" if value >= 1e4 else f"{value:.4g}"
