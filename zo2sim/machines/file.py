"""Machine files: TOML in, `Machine` out, and back; and the catalogue that comes with the package.

    [machine]                  name, description, class
    [device]                   name, kernel_table (optional) and numbers
    [device.flops_per_s]       bf16, fp16, fp32; so too [device.noise_elements_per_s]
    [link], [host]             numbers; link.limit_bytes_per_s may be absent
    [nvme], [cpu]              numbers; either may be absent
    [node]                     numbers and lists of devices (`zo2sim.machines.node`); may be absent
    [calibrated], [validation] what stands behind them (`evidence_file`); may be absent

A number is ``key = { value = 25.5, provenance = "measured", source = "who, what, where" }``, with
``low`` and ``high`` where a 95 % interval is known. The key carries the unit: SI
(``h2d_bytes_per_s``) or another one (``h2d_gb_per_s``, ``memory_gib``, ``latency_us``).
"""

import dataclasses
from collections.abc import Collection
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from zo2sim import toml
from zo2sim.checks import check_text, positive, shown
from zo2sim.machines import catalogue, evidence_file, nodes
from zo2sim.machines.keys import TABLES, closest, key_of
from zo2sim.machines.machine import PARTS, Machine
from zo2sim.machines.node import is_list
from zo2sim.machines.quantity import Quantity
from zo2sim.machines.topology import Topology
from zo2sim.machines.units import Unit, units_of, written
from zo2sim.reading import read_text
from zo2sim.spelling import reading, suggestion

THIS_HOST = "this-host"
_OPTIONAL = ("nvme", "cpu", "node")
_SECTIONS = ("machine", *PARTS, *evidence_file.SECTIONS)
_IDENTITY = {"name": "name", "description": "description", "class": "architecture"}
_TEXTS = ("device.name", "device.kernel_table")
_TABLE_NAMES = {written(table, unit) for table in TABLES for unit in units_of(table)}


def load(text: str, *, where: str) -> Machine:
    """The machine that a TOML text describes; ``where`` names the text in errors.

    Raises ``ValueError``, and nothing else, for whatever is wrong with the text: one line that
    says what must hold, what arrived, and where.
    """
    try:
        return _machine(toml.parse(text, must="a machine file must be valid TOML"))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


@cache
def named(name: str) -> Machine:
    """A machine of the catalogue, or a node of it."""
    if name in nodes.names():
        return _machine(nodes.machine_table(name))
    if name not in names():
        known = ", ".join((*names(), *nodes.names()))
        raise ValueError(f"a machine must be one of {known}; got {shown(name)}")
    if name != THIS_HOST:
        return without(name, ())
    text = files("zo2sim").joinpath(f"data/machines/{name}.toml").read_text(encoding="utf-8")
    return load(text, where=f"{name}.toml")


def without(name: str, sources: Collection[str]) -> Machine:
    """A machine of the catalogue as it would be had some sources never measured."""
    return _machine(catalogue.machine_table(name, without=sources))


@cache
def names() -> tuple[str, ...]:
    """The machines of the catalogue with one device; `nodes.names` are those with several."""
    return tuple(sorted((*catalogue.names(), THIS_HOST)))


def resolve(name_or_path: str | Path) -> Machine:
    """A machine of the catalogue by name, or any machine by the path of its file.

    A name may be spelled as in `zo2sim.spelling`, and stands back behind a file that is there.
    """
    name = str(name_or_path)
    if name in names() or name in nodes.names():
        return named(name)
    try:
        text = read_text(Path(name_or_path))
    except (OSError, ValueError) as error:
        found = reading(name, names()) or nodes.reading_of(name)
        if found is not None:
            return named(found)
        known = nodes.names() if nodes.is_several(name) else names()
        reason = f" ({getattr(error, 'strerror', None) or error})"
        raise ValueError(
            "a machine must be one of the catalogue (zo2sim machines lists them), or the path of a "
            f"machine file; got {name!r}{suggestion(name, known) or reason}"
        ) from None
    return load(text, where=name)


def dump(machine: Machine) -> str:
    """The machine as a file in SI units; `load` gives an equal machine back."""
    identity = {key: getattr(machine, name) for key, name in _IDENTITY.items()}
    parts = {name: part for name in PARTS if (part := getattr(machine, name)) is not None}
    tables = [
        toml.table("machine", identity),
        *(toml.table(name, dataclasses.asdict(part)) for name, part in parts.items()),
        *evidence_file.dump(machine),
    ]
    return "\n\n".join(tables) + "\n"


def with_topology(machine: Machine, found: Topology, card: str) -> Machine:
    """The machine with as many of its devices, connected as they say; rates are the catalogue's,
    by the name of the card there."""
    table = {name: dataclasses.asdict(getattr(machine, name)) for name in ("link", "host")}
    return dataclasses.replace(machine, node=_part("node", nodes.of_topology(found, table, card)))


def _machine(file: dict[str, Any]) -> Machine:
    for section in file:
        if section not in _SECTIONS:
            raise ValueError(
                f"a section must be one of {', '.join(_SECTIONS)}; got {shown(section)}"
            )
    return Machine(
        **_identity(_section(file, "machine")),
        **{
            name: _part(name, _section(file, name))
            for name in PARTS
            if name in file or name not in _OPTIONAL
        },
        **evidence_file.read({n: _section(file, n) for n in evidence_file.SECTIONS if n in file}),
    )


def _section(file: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in file:
        raise ValueError(f"a machine file must have a section [{name}]; it has none")
    return _table(name, file[name])


def _table(key: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{key} must be a table; got {shown(value)}")
    return cast(dict[str, Any], value)


def _identity(table: dict[str, Any]) -> dict[str, Any]:
    for key in table:
        if key not in _IDENTITY:
            raise ValueError(
                f"a key of [machine] must be one of {', '.join(_IDENTITY)}; got {shown(key)}"
            )
    for key in _IDENTITY:
        check_text(f"machine.{key}", table.get(key, ""))
    return {_IDENTITY[key]: value for key, value in table.items()}


def _part(name: str, table: dict[str, Any]) -> Any:
    """Build one section's dataclass; every key must be known, given once, and none be missing."""
    found: dict[str, Any] = {}
    for key, value in _flat(name, table):
        if key in _TEXTS:
            check_text(key, value)
            canonical, item = key, value
        elif is_list(key):
            canonical, item = key, value
        else:
            canonical, item = _number(key, value)
        field = canonical.partition(".")[2]
        if field in found:
            raise ValueError(f"{canonical} must be given once; got it again as {key}")
        found[field] = item
    _check_complete(name, found)
    return PARTS[name](**found)


def _flat(name: str, table: dict[str, Any]) -> list[tuple[str, Any]]:
    """Dotted keys and values; a table of several numbers is opened."""
    items: list[tuple[str, Any]] = []
    for key, value in table.items():
        dotted = f"{name}.{key}"
        if key in _TABLE_NAMES:
            inner = _table(dotted, value)
            items += [(f"{dotted}.{leaf}", number) for leaf, number in inner.items()]
        else:
            items.append((dotted, value))
    return items


def _number(key: str, value: object) -> tuple[str, Quantity]:
    known = key_of(key)
    if known is None:
        raise ValueError(f"a key must be a known one; got {shown(key)}; closest: {closest(key)}")
    canonical, unit = known
    return canonical, _quantity(key, value, unit)


def _quantity(key: str, value: object, unit: Unit) -> Quantity:
    if not isinstance(value, dict):
        raise ValueError(
            f"{key} must be a table {{ value, provenance, source }}; got {shown(value)}"
        )
    table = _quantity_table(key, cast(dict[str, Any], value))
    try:
        scaled: dict[str, Any] = {
            name: unit.to_si(positive(name, item)) if name in ("value", "low", "high") else item
            for name, item in table.items()
        }
        return Quantity(**scaled)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _quantity_table(key: str, table: dict[str, Any]) -> dict[str, Any]:
    known = [field.name for field in dataclasses.fields(Quantity)]
    for name in table:
        if name not in known:
            raise ValueError(f"a key of {key} must be one of {', '.join(known)}; got {shown(name)}")
    missing = [name for name in known[:3] if name not in table]
    if missing:
        raise ValueError(f"{key} must have value, provenance and source; {missing[0]} is missing")
    return table


def _check_complete(name: str, found: dict[str, Any]) -> None:
    for field in dataclasses.fields(PARTS[name]):
        if field.default is dataclasses.MISSING and field.name not in found:
            raise ValueError(f"[{name}] must have {field.name}; it is missing")
