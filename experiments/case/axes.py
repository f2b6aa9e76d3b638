"""Axes of a search as people write them: ``num-slots=1,2,4`` tries three values, one value pins."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.file import from_fields
from zo2sim.predict.case import Case
from zo2sim.search.space import Axes, changes_recipe, plan_axes, recipe_axes

_PLAN = {f.name: f.type for f in fields(Plan)}


_RECIPE = {f.name: f.type for f in fields(Recipe)}


def parse_axes(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Axes by field name. Raises ``ValueError`` for an unknown axis or an axis without values."""
    axes: dict[str, tuple[str, ...]] = {}
    known = ["model", "machine", *_PLAN, *_RECIPE]
    for text in texts:
        name, _, values = text.partition("=")
        field = name.strip().replace("-", "_")
        if field not in known and "." not in field:
            close = get_close_matches(field, known, n=1)
            raise ValueError(
                f"an axis must be a plan's field, model, machine or a dotted machine constant; "
                f"got {name!r}" + (f"; did you mean {close[0]}?" if close else "")
            )
        if field in axes:
            raise ValueError(
                f"an axis must be given once, with all of its values; got {name!r} again"
            )
        axes[field] = tuple(v.strip() for v in values.split(",") if v.strip())
        if not axes[field]:
            raise ValueError(f"axis {name!r} must have values, as in num-slots=1,2; got {text!r}")
    return axes


def parse_value(text: str) -> object:
    """A truth value, a whole number, or the text itself."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?[0-9]{1,400}", text) else text


_PLAN_FIELDS = {f.name for f in fields(Plan)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Freedom:
    """What a user lets a search vary: ``free`` names axes, ``axis`` gives values of some."""

    free: tuple[str, ...] = ()
    axis: tuple[str, ...] = ()

    def axes(self, base: Case) -> dict[str, tuple[Any, ...]]:
        """Every axis of the plan, unless one value was given; of the recipe those asked for.

        Raises ``ValueError`` for an unknown axis, or a value that the field does not take.
        """
        known, given = recipe_axes(base.recipe), self._given()
        freed = {name: known[name] for name in self._freed(known)}
        both = sorted(freed.keys() & given.keys())
        if both:
            raise ValueError(f"give --free {both[0]} or --axis {both[0]}=..., not both")
        return plan_axes(base) | freed | given

    def _freed(self, known: Mapping[str, object]) -> Iterable[str]:
        for text in self.free:
            name = text.strip().replace("-", "_")
            if name not in known:
                close = get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                raise ValueError(
                    f"--free must name one of {', '.join(known)} (a plan's axes are free already; "
                    f"give another one values with --axis); got {text!r}{hint}"
                )
            yield name

    def _given(self) -> dict[str, tuple[Any, ...]]:
        given: dict[str, tuple[Any, ...]] = {}
        for name, texts in parse_axes(self.axis).items():
            if name in ("model", "machine") or "." in name:
                raise ValueError(f"a search has one model and one machine; got --axis {name}")
            given[name] = tuple(dict.fromkeys(_value(name, text) for text in texts))
        return given


def recipe_part(axes: Axes) -> dict[str, tuple[Any, ...]]:
    """The axes with several values that change bits or statistics."""
    return {name: v for name, v in axes.items() if changes_recipe(name) and len(v) > 1}


def show_values(values: tuple[Any, ...]) -> str:
    """``1,2,4``; a run of whole numbers as ``0..96``."""
    whole = all(isinstance(v, int) and not isinstance(v, bool) for v in values)
    if whole and len(values) > 3 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{values[0]}..{values[-1]}"
    return ",".join(str(value) for value in values)


def _value(name: str, text: str) -> Any:
    """The value as the field holds it; checks it as the field does."""
    values = {name: parse_value(text)}
    owner = from_fields(Plan, values) if name in _PLAN_FIELDS else from_fields(Recipe, values)
    return getattr(owner, name)
