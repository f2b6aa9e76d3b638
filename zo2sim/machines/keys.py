"""Keys of a machine's numbers as people write them: with any unit, flat or in a table."""

import difflib

from zo2sim.machines.machine import PARTS
from zo2sim.machines.quantity import constants_of
from zo2sim.machines.units import Unit, units_of, written

LIMITS = {
    f"{part}.{name}": (constant.low, constant.high)
    for part, kind in PARTS.items()
    for name, constant in constants_of(kind)
}
"""Plausible range of every number, in SI base units."""

TABLES = ("flops_per_s", "noise_elements_per_s", "update_elements_per_s")
"""Names that group several numbers: ``flops_per_s.bf16`` is ``bf16_flops_per_s``."""


def key_of(text: str) -> tuple[str, Unit] | None:
    """The SI key that a dotted key means, and the unit that it carries; None if it is unknown."""
    return _SPELLINGS.get(text)


def closest(text: str) -> str:
    """The three known keys that look most like the text."""
    return ", ".join(difflib.get_close_matches(text[:80], _KNOWN, n=3, cutoff=0.0))


def _grouped(key: str) -> str | None:
    """``device.flops_per_s.bf16`` for ``device.bf16_flops_per_s``; None where there is no table."""
    part, _, field = key.partition(".")
    leaf, _, table = field.partition("_")
    return f"{part}.{table}.{leaf}" if table in TABLES else None


def _spellings() -> dict[str, tuple[str, Unit]]:
    found: dict[str, tuple[str, Unit]] = {}
    for key in LIMITS:
        for unit in units_of(key):
            flat = written(key, unit)
            found[flat] = (key, unit)
            if (grouped := _grouped(key)) is not None:
                table, _, leaf = grouped.rpartition(".")
                found[f"{written(table, unit)}.{leaf}"] = (key, unit)
    return found


_SPELLINGS = _spellings()
_KNOWN = (*_SPELLINGS, "device.name", "device.kernel_table", "machine.name", "machine.description")
