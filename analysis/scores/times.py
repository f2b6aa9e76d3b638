"""Times of forwards that others measured: `analysis/data/gpu_times.toml`, as cases to predict."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from analysis.scores.score import Guess, Score
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import without
from zo2sim.machines.machine import Machine
from zo2sim.machines.population import sources
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.workload import Workload
from zo2sim.predict.bands import Band, band
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict

Row = Mapping[str, Any]
_PLAN = ("resident_blocks", "pinning", "tier")


@cache
def time_scores() -> tuple[Score, ...]:
    """Every time that can be predicted."""
    return tuple(_score(row) for row in _rows() if "unscored" not in row)


def unscored() -> dict[str, str]:
    """The others, and why."""
    return {row["id"]: row["unscored"] for row in _rows() if "unscored" in row}


def nominal(row: Row, machine: Machine, *, sequence: int | None = None) -> Case:
    """The case of a row, on one of its machines; ``sequence`` None is the row's."""
    dtype = Dtype(row.get("dtype", "fp16"))
    recipe = Recipe(
        batch=row["batch"],
        sequence=row["sequence"] if sequence is None else sequence,
        microbatches=row.get("microbatches", 1),
        storage_dtype=dtype,
        wire_dtype=dtype,
        compute_dtype=dtype,
    )
    plan = Plan(policy=Policy(row.get("policy", "resident")), **_some(row, _PLAN))
    workload = Workload(work="forward", **_some(row, ("attention", "logits")))
    return Case(
        model=preset(row["model"]), machine=machine, plan=plan, recipe=recipe, workload=workload
    )


def rows_of(source: str) -> tuple[Row, ...]:
    """The rows of one source, by the name under which measurements say so."""
    return tuple(row for row in _rows() if row.get("by") == source)


def _score(row: Row) -> Score:
    return Score(
        name=row["id"],
        kind=row["kind"],
        unit=row["unit"],
        source=sources()[row["by"]],
        measured=row["value"],
        found=_guess(row, ()),
        left_out=_guess(row, (row["by"],)),
    )


def _guess(row: Row, left_out: tuple[str, ...]) -> Guess:
    """On the first of its machines; the band is that of all of them."""
    found = [_seconds(row, without(name, left_out)) for name in row["machines"]]
    value, low, high = found[0][0], min(f[1] for f in found), max(f[2] for f in found)
    if row["unit"] == "s":
        return Guess(value=value, low=low, high=high)
    tokens = row["batch"] * row.get("microbatches", 1) * row["generated"]
    return Guess(value=tokens / value, low=tokens / high, high=tokens / low)


def _seconds(row: Row, machine: Machine) -> tuple[float, float, float]:
    """Seconds and both ends; a token after the first one takes a forward of one token."""
    total = _forward(nominal(row, machine))
    if "generated" not in row:
        return total
    token = _forward(nominal(row, machine, sequence=1))
    more = row["generated"] - 1
    return (
        total[0] + more * token[0],
        total[1] + more * token[1],
        total[2] + more * token[2],
    )


def _forward(case: Case) -> tuple[float, float, float]:
    prediction = predict(case)
    found: Band = band(prediction)
    return prediction.step_s, found.low_step_s, found.high_step_s


def _some(row: Row, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: row[key] for key in keys if key in row}


@cache
def _rows() -> tuple[Row, ...]:
    text = files("analysis").joinpath("data/gpu_times.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["time"])
