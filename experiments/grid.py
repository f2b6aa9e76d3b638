"""Grids: axes of the form ``num-slots=1,2,4``, multiplied with a base of jobs."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from difflib import get_close_matches
from itertools import product
from typing import Any

from experiments.job import Job
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.file import from_fields
from zo2sim.plan.refusals import refusal

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


def expand(jobs: Iterable[Job], axes: dict[str, tuple[str, ...]]) -> Iterator[Job]:
    """Every job with every combination of values; refused combinations are left out.

    Raises ``ValueError`` when nothing is left, with the last reason.
    """
    reason, found = None, False
    for job in jobs:
        for values in product(*axes.values()):
            changed = _changed(job, dict(zip(axes, values, strict=True)))
            reason = refusal(changed.spec.plan, changed.spec.recipe)
            if reason is None:
                found = True
                yield changed
    if not found:
        raise ValueError(f"the grid has no combination that is allowed: {reason}")


def _changed(job: Job, values: dict[str, str]) -> Job:
    spec = job.spec
    named = {k: v for k, v in values.items() if k in ("model", "machine")}
    constants = tuple((k, _number(k, v)) for k, v in values.items() if "." in k)
    plan = _merged(spec.plan, {k: v for k, v in values.items() if k in _PLAN})
    recipe = _merged(spec.recipe, {k: v for k, v in values.items() if k in _RECIPE})
    label = ", ".join([job.label, *(f"{k}={v}" for k, v in values.items())])
    spec = replace(spec, **named, plan=plan, recipe=recipe, changes=spec.changes + constants)
    return replace(job, label=label, spec=spec)


def _merged(owner: Any, texts: dict[str, str]) -> Any:
    values = {f.name: getattr(owner, f.name) for f in fields(owner)}
    if "policy" in texts and owner.pinning == Plan(policy=owner.policy).pinning:
        values["pinning"] = "auto"  # nobody chose it: it follows the policy
    values |= {key: parse_value(text) for key, text in texts.items()}
    return from_fields(type(owner), values)


def parse_value(text: str) -> object:
    """A truth value, a whole number, or the text itself."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?[0-9]{1,400}", text) else text


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{key} must be a number; got {text!r}") from None
