"""The sections of a machine file that say what stands behind its numbers.

[calibrated]  source; sizes as [low, high] and choices as lists of words
(`zo2sim.machines.evidence`) [validation]  n, mape, max_ape, mpe, coverage_90, constants, date,
source
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, cast

from zo2sim import toml
from zo2sim.checks import check_text, shown
from zo2sim.machines.evidence import CHOICES, SIZES, Calibrated, Range, Validation
from zo2sim.machines.machine import Machine

SECTIONS = ("calibrated", "validation")
_FIELDS = {field.name: field.type for field in dataclasses.fields(Validation)}


def read(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The fields of a `Machine`; ``ValueError`` for a key or value that does not belong."""
    readers = {"calibrated": _calibrated, "validation": _validation}
    return {name: readers[name](table) for name, table in sections.items()}


def dump(machine: Machine) -> Iterator[str]:
    """The sections that the machine has."""
    if machine.calibrated is not None:
        yield toml.table("calibrated", _calibrated_items(machine.calibrated))
    if machine.validation is not None:
        yield toml.table("validation", dataclasses.asdict(machine.validation))


def with_validation(text: str, found: Validation) -> str:
    """A machine file's text with this validation in it; everything else stays as it is written."""
    kept = [piece for piece in toml.headed(text) if "validation" not in toml.parse(piece)]
    new = toml.table("validation", dataclasses.asdict(found))
    return "".join(kept).rstrip("\n") + f"\n\n{new}\n"


def _calibrated(table: Mapping[str, Any]) -> Calibrated:
    for key in table:
        if key not in ("source", *SIZES, *CHOICES):
            known = ", ".join(("source", *SIZES, *CHOICES))
            raise ValueError(f"a key of [calibrated] must be one of {known}; got {shown(key)}")
    return Calibrated(
        source=table.get("source", ""),
        ranges=tuple((name, _range(name, table[name])) for name in SIZES if name in table),
        choices=tuple((name, _words(name, table[name])) for name in CHOICES if name in table),
    )


def _range(name: str, value: object) -> Range:
    ends = _list(name, value, "[low, high]")
    if len(ends) != 2:
        raise ValueError(f"calibrated.{name} must be [low, high]; got {shown(ends)}")
    try:
        return Range(low=ends[0], high=ends[1])
    except ValueError as error:
        raise ValueError(f"calibrated.{name}: {error}") from None


def _words(name: str, value: object) -> tuple[str, ...]:
    words = _list(name, value, "a list of words")
    for word in words:
        check_text(f"calibrated.{name}", word)
    return tuple(words)


def _list(name: str, value: object, form: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"calibrated.{name} must be {form}; got {shown(value)}")
    return cast(list[Any], value)


def _validation(table: Mapping[str, Any]) -> Validation:
    if set(table) != set(_FIELDS):
        odd = sorted(set(table) ^ set(_FIELDS))
        raise ValueError(
            f"[validation] must have {', '.join(_FIELDS)}, and nothing else; amiss: {shown(odd[0])}"
        )
    for name, kind in _FIELDS.items():
        allowed = {int: (int,), float: (int, float), str: (str,)}[cast(type, kind)]
        if isinstance(table[name], bool) or not isinstance(table[name], allowed):
            raise ValueError(f"validation.{name} is of another type; got {shown(table[name])}")
    return Validation(**table)


def _calibrated_items(found: Calibrated) -> dict[str, object]:
    ranges = {name: (own.low, own.high) for name, own in found.ranges}
    return {"source": found.source, **ranges, **dict(found.choices)}
