"""Grids: axes of the form ``num-slots=1,2,4``, multiplied with a base of jobs."""

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from itertools import product
from typing import Any

from experiments.case.axes import _PLAN, _RECIPE, parse_value
from experiments.jobs.job import Job
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.file import from_fields
from zo2sim.plan.refusals import refusal


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
    if "storage_dtype" in texts and owner.storage_dtype.is_integer:
        values["wire_dtype"] = Recipe().wire_dtype  # nobody chose it: it followed the storage
    values |= {key: parse_value(text) for key, text in texts.items()}
    return from_fields(type(owner), values)


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{key} must be a number; got {text!r}") from None
