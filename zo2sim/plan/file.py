"""One TOML file holds the fields of a recipe and a plan; every command reads and writes it."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, cast

from zo2sim import toml
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.reading import read_text

_ENUMS = {
    "policy": Policy,
    "storage_dtype": Dtype,
    "wire_dtype": Dtype,
    "compute_dtype": Dtype,
}

_OF_SEVERAL_DEVICES = ("devices", "placement", "lane_groups")

T = TypeVar("T", Plan, Recipe)


def dump(plan: Plan, recipe: Recipe) -> str:
    """The text of a plan file: a [recipe] and a [plan] table.

    A reference is named only where there is one: journals hold this text, and older ones none.
    """
    fixed: dict[str, object] = asdict(recipe)
    if recipe.reference == "none":
        del fixed["reference"]
    tables = (toml.table("recipe", fixed), toml.table("plan", fields_of(plan)))
    return "\n\n".join(tables) + "\n"


def read(path: Path) -> tuple[Plan, Recipe]:
    """What a file holds. Raises ``ValueError`` where there is none, or as `parse` does."""
    if not path.exists():
        raise ValueError(
            f"a plan must be a file, as plan --write-plan writes it, or for run auto; there is "
            f"none at {path}"
        )
    return parse(read_text(path), where=str(path))


def parse(text: str, *, where: str = "plan file") -> tuple[Plan, Recipe]:
    """Plan and recipe; fields left out take their defaults.

    Raises ``ValueError`` that names the field: unknown, of the wrong type, or out of range.
    """
    tables = toml.parse(text, must=f"{where}: must be TOML")
    unknown = sorted(set(tables) - {"recipe", "plan"})
    if unknown:
        raise ValueError(f"{where}: tables must be [recipe] and [plan]; got [{unknown[0]}]")
    plan = _filled(Plan, tables.get("plan", {}), f"{where}: [plan]")
    return plan, _filled(Recipe, tables.get("recipe", {}), f"{where}: [recipe]")


def fields_of(plan: Plan) -> dict[str, Any]:
    """A plan's fields as files and answers hold them: of what devices share only where several do.

    So what was written of one device reads as before.
    """
    values = asdict(plan)
    for name in _OF_SEVERAL_DEVICES if plan.devices == 1 else ():
        del values[name]
    return values


def from_fields(cls: type[T], values: Mapping[str, Any]) -> T:
    """A `Plan` or `Recipe` from plain values. Raises ``ValueError`` naming field and value."""
    return cls(**{key: _value(key, value) for key, value in values.items()})


def _filled(cls: type[T], table: object, where: str) -> T:
    if not isinstance(table, dict):
        raise ValueError(f"{where} must be a table; got {table!r}")
    values = cast(dict[str, Any], table)
    names = [f.name for f in fields(cls)]
    for key in values:
        if key not in names:
            close = get_close_matches(key, names, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{where} has no field {key!r}{hint}")
    try:
        return from_fields(cls, values)
    except ValueError as error:
        raise ValueError(f"{where} {error}") from None


def _value(key: str, value: Any) -> Any:
    if key in _ENUMS:
        try:
            return _ENUMS[key](value)
        except ValueError:
            choices = ", ".join(_ENUMS[key])
            raise ValueError(f"{key} must be one of {choices}; got {value!r}") from None
    return value
