"""A number of a machine with who says so, and what is known of it before anybody does.

The ranges only catch mistakes of units and slips of the keyboard: they span everything from a
throttled host to what no device of the next years reaches.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from zo2sim.checks import check_choice, check_text, positive
from zo2sim.machines.units import is_count, units_of, written

Provenance = Literal["datasheet", "measured", "fitted", "assumed"]
_CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A positive number with who says so; ``low`` and ``high`` are its 95 % interval if known."""

    value: float
    provenance: Provenance
    source: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        for field in ("value", "low", "high"):
            if field == "value" or getattr(self, field) is not None:
                object.__setattr__(self, field, positive(field, getattr(self, field)))
        check_choice("provenance", self.provenance, get_args(Provenance))
        check_text("source", self.source)
        low, high = self.interval
        if not low <= self.value <= high:
            raise ValueError(
                f"low <= value <= high must hold; got {low:g}, {self.value:g}, {high:g}"
            )

    @property
    def interval(self) -> tuple[float, float]:
        """``low`` and ``high``; the value itself for an end that is not known."""
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return low, high


PASS_RATIO = Quantity(
    0.85,
    "measured",
    "a vector times a number, 8 bytes per operation: 0.79 (A100), 0.85 (A6000, RTX 3090 Ti), 0.87 "
    "(V100) and 0.93 (RTX 4090) of the data sheet (mli/transformers-benchmarks at 3370b2b)",
    low=0.76,
    high=0.95,
)
"""Where a machine file does not say its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The plausible range of a number in SI base units, and where a fit on a host starts.

    ``start_s`` is seconds per unit, assumed: the right magnitude for one core of a server of the
    2020s. None where nothing is fitted.
    """

    low: float
    high: float
    start_s: float | None


def within(low: float, high: float, *, start_s: float | None = None) -> Mapping[str, Constant]:
    """Metadata of a field that holds a number."""
    return {_CONSTANT: Constant(low=low, high=high, start_s=start_s)}


def constants_of(part: Any) -> Iterator[tuple[str, Constant]]:
    """The numbers that a section of a machine may have, by name."""
    for field in dataclasses.fields(part):
        if _CONSTANT in field.metadata:
            yield field.name, field.metadata[_CONSTANT]


def quantities_of(part: Any) -> Iterator[tuple[str, Quantity]]:
    """The numbers of one section of a machine by name; none where it is absent."""
    for name, _ in constants_of(part) if part is not None else ():
        quantity = getattr(part, name)
        if quantity is not None:
            yield name, quantity


def check_part(section: str, part: Any) -> None:
    """``ValueError`` unless every number of a section lies in its range."""
    known = dict(constants_of(part))
    for name, quantity in quantities_of(part):
        _check_plausible(f"{section}.{name}", quantity.value, known[name])


def _check_plausible(key: str, value: float, known: Constant) -> None:
    """Asks about the unit that would fit."""
    if not known.low <= value <= known.high:
        symbol = f" {units_of(key)[0].symbol}".rstrip()
        raise ValueError(
            f"{key} must lie in [{_plain(known.low)}, {_plain(known.high)}]{symbol}; "
            f"got {_plain(value)}{_hint(key, value, known)}"
        )
    if is_count(key) and value != int(value):
        raise ValueError(f"{key} must be a whole number; got {value:g}")


def _hint(key: str, value: float, known: Constant) -> str:
    for unit in units_of(key)[1:]:
        if known.low <= unit.to_si(value) <= known.high:
            name = written(key, unit).partition(".")[2]
            return f": is the unit {unit.symbol}? use {name}"
    return ""


def _plain(value: float) -> str:
    """1e6 rather than 1e+06."""
    mantissa, e, exponent = f"{value:g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa
