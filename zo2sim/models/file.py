"""A model as a JSON file: shapes that were traced once, for every command and every machine.

Units that differ in names only are written once; a parameter whose name starts with a dot belongs
to the block that has the unit. Files may be anybody's: everything is checked, and nothing is taken
that is not named here.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from itertools import groupby
from math import isfinite
from typing import Any, Never, TypeGuard, TypeVar, cast

from zo2sim.checks import shown
from zo2sim.models.config.fields import MAX_COUNT, MAX_LAYERS
from zo2sim.models.shapes import Attention, Gemm, Model, Parameter, Unit

KEY = "zo2_model"
"""Every such file has it, with the version of its form."""
VERSION = 1
_MOST_ITEMS = 10_000
"""Parameters, products or layers of a unit; sizes of a parameter are far fewer."""
_MOST_TEXT = 1000
_MOST_SIZES = 8

T = TypeVar("T", Gemm, Attention)


def is_model(content: object) -> bool:
    """Whether the content of a JSON file is a model's, of whatever version."""
    return isinstance(content, Mapping) and KEY in content


def dump(model: Model) -> str:
    """The text of a model's file; `parse` of it gives an equal model."""
    prefixes = [_prefix(block) for block in model.blocks]
    units = [model.head, model.tail]
    units += [_without(prefix, block) for prefix, block in zip(prefixes, model.blocks, strict=True)]
    distinct = list(dict.fromkeys(units))
    head, tail, *blocks = (distinct.index(unit) for unit in units)
    plain = ("name", "family", "hidden", "vocab", "max_positions", "buffer_elements", "learned")
    content = {
        KEY: VERSION,
        **{key: getattr(model, key) for key in plain},
        "notes": list(model.notes),
        "head": head,
        "blocks": [[prefix, unit] for prefix, unit in zip(prefixes, blocks, strict=True)],
        "tail": tail,
        "units": [_told(unit) for unit in distinct],
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n"


def parse(content: object, *, where: str) -> Model:
    """The model of a file's JSON. Raises ``ValueError``, in one line, that names what is wrong."""
    table = _Table.of(content, where)
    if table.values.get(KEY) != VERSION:
        table.refuse(KEY, f"{VERSION}, the form that this version reads")
    units = [_unit(unit) for unit in table.tables("units")]

    def unit(number: object, key: str) -> Unit:
        if type(number) is not int or not 0 <= number < len(units):
            table.refuse(key, f"numbers of units, from 0 to {len(units) - 1}")
        return units[number]

    def block(entry: object) -> Unit:
        prefix, number = _entries(entry, 2) or (None, None)
        if not _is_text(prefix):
            table.refuse("blocks", "pairs of a name and the number of a unit")
        return _within(prefix, unit(number, "blocks"))

    model = Model(
        name=table.text("name"),
        family=table.text("family"),
        hidden=table.whole("hidden"),
        vocab=table.whole("vocab"),
        max_positions=table.optional("max_positions"),
        learned=table.flag("learned"),
        buffer_elements=table.whole("buffer_elements", least=0),
        notes=tuple(_note(table, note) for note in table.items("notes")),
        head=unit(table.values.get("head"), "head"),
        blocks=tuple(block(entry) for entry in table.items("blocks", most=MAX_LAYERS)),
        tail=unit(table.values.get("tail"), "tail"),
    )
    table.only({KEY, "units", *(f.name for f in fields(Model))})
    return model


def _prefix(block: Unit) -> str:
    """``model.layers.3``: what the first name has up to its first number, if any."""
    parts = block.parameters[0].name.split(".") if block.parameters else []
    number = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
    return "" if number is None else ".".join(parts[: number + 1])


def _without(prefix: str, unit: Unit) -> Unit:
    return _renamed(unit, lambda n: n.removeprefix(prefix) if n.startswith(f"{prefix}.") else n)


def _within(prefix: str, unit: Unit) -> Unit:
    return _renamed(unit, lambda name: prefix + name if name.startswith(".") else name)


def _renamed(unit: Unit, name: Callable[[str], str]) -> Unit:
    return replace(unit, parameters=tuple(replace(p, name=name(p.name)) for p in unit.parameters))


def _told(unit: Unit) -> dict[str, Any]:
    """What differs from the defaults; equal layers are counted."""
    told = _changed(unit)
    for key in ("parameters", "borrowed"):
        if key in told:
            told[key] = [[p.name, list(p.shape)] for p in told[key]]
    for key in ("gemms", "attentions"):
        if key in told:
            told[key] = [_changed(one) for one in told[key]]
    if "linear_shapes" in told:
        told["linear_shapes"] = [
            [*shape, len([*equal])] for shape, equal in groupby(unit.linear_shapes)
        ]
    return told


def _changed(value: Any) -> dict[str, Any]:
    own = {f.name: getattr(value, f.name) for f in fields(value)}
    return {f.name: own[f.name] for f in fields(value) if own[f.name] != f.default}


class _Table:
    """An object of the file, read field by field; ``where`` says in errors which one."""

    def __init__(self, values: Mapping[str, object], where: str) -> None:
        self.values, self._where = values, where

    @classmethod
    def of(cls, value: object, where: str) -> "_Table":
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be a JSON object; got {shown(value)}")
        return cls(cast("dict[str, object]", value), where)

    def refuse(self, key: str, rule: str) -> Never:
        got = shown(self.values[key]) if key in self.values else "no such key"
        raise ValueError(f"{self._where}: {key} must be {rule}; got {got}")

    def only(self, keys: set[str]) -> None:
        """Refuse what is not read."""
        strange = sorted(self.values.keys() - keys)
        if strange:
            raise ValueError(f"{self._where}: must have no field {shown(strange[0])}")

    def whole(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        value = self.values.get(key, default)
        if type(value) is not int or not least <= value <= _MOST_ELEMENTS:
            self.refuse(key, f"a whole number from {least} to {_MOST_ELEMENTS}")
        return value

    def optional(self, key: str, *, least: int = 1) -> int | None:
        return None if self.values.get(key) is None else self.whole(key, least=least)

    def number(self, key: str, default: float) -> float:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(key, "a number from 0 on")
        if not isfinite(value) or not 0 <= value <= MAX_COUNT:
            self.refuse(key, f"a number from 0 to {MAX_COUNT}")
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            self.refuse(key, "true or false")
        return value

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not _is_text(value):
            self.refuse(key, f"a text of at most {_MOST_TEXT} characters")
        return value

    def items(self, key: str, *, most: int = _MOST_ITEMS) -> list[object]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or len(cast("list[object]", value)) > most:
            self.refuse(key, f"a list of at most {most}")
        return cast("list[object]", value)

    def tables(self, key: str) -> list["_Table"]:
        return [
            _Table.of(item, f"{self._where}: {key}[{number}]")
            for number, item in enumerate(self.items(key))
        ]


_MOST_ELEMENTS = 1 << 53
"""Every float holds a whole number up to here."""


def _unit(table: _Table) -> Unit:
    signed = ("elementwise_per_sequence", "elementwise_per_pair", "cast_elements")
    unit = Unit(
        parameters=_parameters(table, "parameters"),
        borrowed=_parameters(table, "borrowed"),
        gemms=tuple(_filled(Gemm, one) for one in table.tables("gemms")),
        attentions=tuple(_filled(Attention, one) for one in table.tables("attentions")),
        linear_shapes=tuple(s for one in table.items("linear_shapes") for s in _layers(table, one)),
        elementwise=table.whole("elementwise", 0, least=0),
        kernels=table.whole("kernels", 0, least=0),
        cast_kernels=table.whole("cast_kernels", 0, least=-MAX_COUNT),
        kernels_per_token=table.number("kernels_per_token", 0.0),
        **{key: table.whole(key, 0, least=-_MOST_ELEMENTS) for key in signed},
    )
    table.only({f.name for f in fields(Unit)})
    return unit


def _parameters(table: _Table, key: str) -> tuple[Parameter, ...]:
    return tuple(_parameter(table, key, entry) for entry in table.items(key))


def _parameter(table: _Table, key: str, entry: object) -> Parameter:
    name, shape = _entries(entry, 2) or (None, None)
    sizes = cast("list[object]", shape) if isinstance(shape, list) else [None]
    counts = [size for size in sizes if _is_count(size)]
    if not _is_text(name) or len(counts) != len(sizes) or len(sizes) > _MOST_SIZES:
        table.refuse(key, "pairs of a name and a list of sizes")
    return Parameter(name=name, shape=tuple(counts))


def _layers(table: _Table, entry: object) -> tuple[tuple[int, int], ...]:
    out, inp, count = _entries(entry, 3) or (None, None, None)
    if not (_is_count(out) and _is_count(inp) and _is_count(count) and count <= _MOST_ITEMS):
        table.refuse("linear_shapes", "triples of two sizes and a number of layers")
    return ((out, inp),) * count


def _filled(cls: type[T], table: _Table) -> T:
    """A product or an attention: whole numbers, but for rows and truth values."""
    values: dict[str, Any] = {}
    for f in fields(cls):
        if f.name in _ROWS:
            values[f.name] = table.number(f.name, cast("float", f.default))
        elif isinstance(f.default, bool):
            values[f.name] = table.flag(f.name, f.default)
        elif f.default is None:
            values[f.name] = table.optional(f.name, least=0 if f.name in _FROM_0 else 1)
        else:
            values[f.name] = table.whole(f.name, None if f.default is MISSING else f.default)
    table.only(set(values))
    return cls(**values)


_ROWS = ("rows_per_token", "rows_per_sequence", "queries_per_token", "keys_per_token")


_FROM_0 = ("value_dim", "queries", "keys")


def _note(table: _Table, note: object) -> str:
    if not _is_text(note):
        table.refuse("notes", f"texts of at most {_MOST_TEXT} characters")
    return note


def _entries(value: object, length: int) -> list[object] | None:
    """A list of that many entries, or None."""
    entries = cast("list[object]", value) if isinstance(value, list) else []
    return entries if len(entries) == length else None


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= _MOST_TEXT


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 1 <= value <= MAX_COUNT
