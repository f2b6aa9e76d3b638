"""What a validation leaves: records, figures, report, every run for itself; errors for --record."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from math import isfinite
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from analysis.plots.paired_timelines import paired_timelines
from analysis.plots.style import svg_text
from analysis.plots.validation import validation
from analysis.report.commands.validation import Findings, drawn, validation_document
from analysis.validation.op_errors import suspects
from analysis.validation.peak_memory import MemoryScores
from analysis.validation.promise import promises
from analysis.validation.scores import Scores, coverage_interval
from experiments.answer.trust import Trust
from experiments.campaign.recorded_run import write_recorded
from experiments.cli import claim, write_file
from experiments.comparison.compared import (
    Validated,
    complaints,
    diverged,
    errors_of,
    scores_of,
)
from experiments.folder.provenance import command, commit, provenance, run_id
from experiments.folder.write import Run, records, write_run
from zo2sim.machines.evidence import Validation
from zo2sim.machines.evidence_file import with_validation
from zo2sim.machines.file import load
from zo2sim.machines.machine import Machine
from zo2sim.plan.file import fields_of
from zo2sim.reading import read_text

_SIGMAS = 1.96  # standard errors to each end of a 95 % interval


def write_validation(
    out: Path,
    found: Sequence[Validated],
    memory: MemoryScores,
    settings: Mapping[str, Any],
    *,
    typeset: bool,
) -> None:
    """The folder of the validation, with one folder per configuration in it.

    ``settings`` are those of the command; ``machine`` and ``seed`` among them, and ``backend``
    where it is not the `host` one.
    """
    source = provenance(seed=settings["seed"], machines=[settings["machine"]])
    claim(out, "validate")
    timelines: dict[str, str] = {}
    for number, one in enumerate(found):
        folder = out / f"{number:02d}"
        write_recorded(folder, one.run, metadata=source)
        text = timelines[one.run.spec.name] = svg_text(_timelines(one))
        write_file(folder / "timelines.svg", text.encode())
    scores, residuals = scores_of(found), _residuals(settings["machine"])
    extrapolated = {one.run.spec.name: _short(one) for one in found if one.extrapolated}
    findings = Findings(
        scores=scores,
        operations=errors_of(found),
        settings={one.run.spec.name: one.settings for one in found},
        grounds=Trust.of(found[0].prediction).words,
        remarks=[f"{text}." for text in diverged(found)],
        has_residuals=bool(residuals),
        extra={"beyond calibration": extrapolated} if extrapolated else {},
        memory=memory,
    )
    steps = {f"timelines-{which}": timelines[c.name] for which, c in drawn(scores).items()}
    run = Run(
        verb="validate",
        config=settings,
        summary=summary(found, memory),
        provenance=source,
        records=records([*_records(found, settings.get("backend", "host"))]),
        figures={"validation": validation(scores), **steps, **residuals},
        document=validation_document(findings, provenance=source),
    )
    write_run(out, run, typeset=typeset)


def summary(found: Sequence[Validated], memory: MemoryScores) -> dict[str, Any]:
    """Every figure, what is promised of it, and every configuration."""
    scores = scores_of(found)
    return {
        **scores.as_dict(),
        **memory.figures,
        "coverage_interval": coverage_interval(scores.n),
        "promises": [{**asdict(p), "kept": p.kept} for p in promises(scores)],
        "complaints": complaints(found, memory),
        "suspects": [asdict(suspect) for suspect in suspects(errors_of(found))],
        "configurations": [_row(one) for one in found],
        "memory": [check.as_dict for check in memory.checks],
    }


def _short(one: Validated) -> str:
    """What lies beyond calibration, without the range."""
    return ", ".join(text.partition(" (")[0] for text in one.extrapolated)


def _row(one: Validated) -> dict[str, Any]:
    c = one.comparison
    return {
        "name": c.name,
        "predicted_s": c.predicted_s,
        "low_s": c.low_s,
        "high_s": c.high_s,
        "measured_s": c.step_s,
        "disturbance": c.disturbance,
        "turns": [asdict(turn) for turn in one.run.turns],
        "error": c.error,
        "rules_error": c.rules_error,
        "divergence": one.run.divergence,
        "extrapolated": list(one.extrapolated),
        "standard_error": _known(c.standard_error),
        "operations": [
            {**asdict(error), "ratio": error.ratio, "effect_s": error.effect_s}
            for error in one.errors
        ],
    }


def _records(found: Sequence[Validated], backend: str) -> Iterator[dict[str, Any]]:
    """A row per number: ``low`` and ``high`` end the 90 % band, or the 95 % interval measured."""
    identity = run_id(one.run.spec.name for one in found)
    for one in found:
        c, spec = one.comparison, one.run.spec
        plan, recipe = fields_of(spec.plan), asdict(spec.recipe)
        settings = {"configuration": c.name, **one.settings, **plan, **recipe}
        common = {"run_id": identity, "config_hash": run_id([str(settings)]), **settings}
        reach_s = _SIGMAS * c.step_s * c.standard_error
        predicted = common | {"provenance": "predicted"}
        measured = common | {"provenance": f"measured, {backend} backend"}
        yield _number(predicted, "step_s", c.predicted_s, "s", (c.low_s, c.high_s))
        yield _number(
            measured, "measured_step_s", c.step_s, "s", (c.step_s - reach_s, c.step_s + reach_s)
        )
        for name in ("error", "rules_error", "standard_error", "covered"):
            yield _number(measured, name, float(getattr(c, name)), "1")
        for error in one.errors:
            row = measured | {"operation": error.op, "constant": error.constant}
            yield _number(row, "operation_predicted_s", error.predicted_s, "s")
            yield _number(row, "operation_measured_s", error.measured_s, "s")


def _number(
    common: Mapping[str, Any],
    metric: str,
    value: float,
    unit: str,
    ends: tuple[float, float] | None = None,
) -> dict[str, Any]:
    low, high = (None, None) if ends is None else map(_known, ends)
    row = {"metric": metric, "value": _known(value), "unit": unit, "low": low, "high": high}
    return {**common, **row}


def _known(value: float) -> float | None:
    return value if isfinite(value) else None


def _timelines(one: Validated) -> Figure:
    return paired_timelines(
        one.prediction.trace, one.run.trace, step=one.drawn_step, title=one.comparison.name
    )


def _residuals(machine: str) -> dict[str, str]:
    """What `calibrate` drew beside the machine file, if it did."""
    path = Path(machine).with_suffix(".residuals.svg")
    return {"residuals": read_text(path)} if path.is_file() else {}


def record_validation(path: Path, machine: Machine, scores: Scores) -> None:
    """Write the section [validation]; the rest of the file stays as it is written.

    Raises ``ValueError`` where the file holds other constants by now: they were not validated.
    """
    text = read_text(path)
    if load(text, where=str(path)).constants != machine.constants:
        raise ValueError(f"{path}: must hold the constants that were validated; it was changed")
    found = Validation(
        n=scores.n,
        mape=scores.mape,
        max_ape=scores.max_ape,
        mpe=scores.mpe,
        coverage_90=scores.coverage_90,
        constants=machine.constants,
        date=str(date.today()),
        source=f"{command()}, commit {commit()}",
    )
    write_file(path, with_validation(text, found).encode())
