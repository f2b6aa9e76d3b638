"""Predict a whole grid of cases and write a report.

    python -m experiments.sweep
    python -m experiments.sweep --preset throughput --axis machine=h100-sxm-80gb,l40s-48gb
    python -m experiments.sweep --preset none --model qwen3-8b --axis num-slots=1,2,4

An interrupted sweep goes on where it stopped when it is started again with the same --out.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import tyro

from analysis.plots.sweep import sweep_figures
from analysis.report.document import TRACE
from analysis.report.sweep import sweep_document
from experiments import tables
from experiments.cli import DONE, run, write_json
from experiments.folder import Run, write_run
from experiments.grid import expand, parse_axes
from experiments.identity import provenance, run_id
from experiments.job import Job
from experiments.pool import run_jobs
from experiments.presets import PRESETS
from experiments.published import kernel_errors, memory_claims
from experiments.sizes import show_seconds
from experiments.store import Store
from experiments.tables import device_items
from experiments.target import Target
from zo2sim.memory import slot_bytes
from zo2sim.plan import Plan, Recipe
from zo2sim.predict import Prediction, predict
from zo2sim.trace_export import to_json

Preset = Literal[
    "none",
    "paper",
    "memory",
    "throughput",
    "ablation",
    "timeline",
    "break-even",
    "both-ways",
    "opt175b-18gb",
]
assert {"none", *PRESETS} == set(Preset.__args__)


@dataclass(frozen=True, kw_only=True)
class Config(Target):
    """Predict a whole grid of cases and write a report."""

    preset: Preset = "paper"
    """Questions to answer; 'none' takes the one case that the other flags describe."""
    axis: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Values to multiply with, e.g. 'num-slots=1,2,4' or 'link.latency_us=5,10'; repeatable."""
    out: Path = Path("runs/sweep")
    """Folder of the run."""
    jobs: int | None = None
    """Worker processes; otherwise one per core."""
    seed: int = 0
    """Recorded with the run; a prediction draws nothing at random."""
    no_report: bool = False
    """Write the records only."""
    json: str | None = None
    """Write the summary as JSON to this file, or to stdout with '-'."""


def main(config: Config) -> int:
    jobs = _jobs(config)
    store = Store.open(config.out / "answers.jsonl")
    run_jobs(jobs, store, workers=config.jobs)
    table = tables.wide(jobs, store.answers)
    summary = _summary(jobs, store)
    records = tables.long(jobs, store.answers, summary["run_id"])
    _write(config, jobs, table, summary, records)
    if config.json is not None:
        write_json(config.json, summary)
    if config.json != "-":
        print(f"{len(jobs)} predictions; report and records in {config.out}")
    return DONE


def _jobs(config: Config) -> tuple[Job, ...]:
    """The preset's jobs, or the flags' case, with every combination of the axes."""
    if config.jobs is not None and config.jobs < 1:
        raise ValueError(f"--jobs must be >= 1; got {config.jobs}")
    base: Sequence[Job] = (Job(question="grid", label=config.spec.plan.policy, spec=config.spec),)
    if config.preset != "none":
        if config.spec != Target(plan=Plan(), recipe=Recipe()).spec:
            raise ValueError(
                "the flags of a plan describe a case, and --preset "
                f"{config.preset} brings its own; use --preset none, or --axis FIELD=VALUE,..."
            )
        base = tuple(PRESETS[config.preset]())
    return tuple(expand(base, parse_axes(config.axis)))


def _summary(jobs: Sequence[Job], store: Store) -> dict[str, Any]:
    """Headline numbers; None where nothing was predicted."""
    answers = [store.answers[job.key] for job in jobs]
    timed = [answer for answer in answers if "step_s" in answer]
    gaps = [answer["step_s"] / answer["lower_bound_s"] - 1.0 for answer in timed]
    return {
        "run_id": run_id(f"{job.question}/{job.label}/{job.key}" for job in jobs),
        "num_jobs": len(jobs),
        "num_models": len({job.spec.model for job in jobs}),
        "num_fitting": sum(answer["fits"] for answer in timed),
        "fastest_tokens_per_s": max((a["tokens_per_s"] for a in timed), default=None),
        "slowest_step_s": max((a["step_s"] for a in timed), default=None),
        "largest_gap_to_bound": max(gaps, default=None),
    }


def _write(
    config: Config,
    jobs: Sequence[Job],
    table: pd.DataFrame,
    summary: Mapping[str, Any],
    records: pd.DataFrame,
) -> None:
    source = provenance(seed=config.seed, machines=(job.spec.machine for job in jobs))
    run = Run(
        verb="sweep",
        config={"jobs": [_settings(job) for job in jobs]},
        summary=summary,
        provenance=source,
        records=records,
    )
    if not config.no_report:
        traced, claims = _traced(jobs), memory_claims()
        trace = traced.trace if traced is not None else None
        files = {} if traced is None else {TRACE: _perfetto(traced, source)}
        document = sweep_document(
            table,
            claims,
            trace=trace,
            summary=_glance(summary),
            provenance=source,
            kernels=kernel_errors(),
        )
        size = _slot_bytes(traced) if traced is not None else None
        drawn = sweep_figures(table, claims, trace=trace, slot_bytes=size, items=device_items(jobs))
        run = replace(run, document=document, figures=drawn, traces=files)
    write_run(config.out, run, typeset=not config.no_report)


def _settings(job: Job) -> dict[str, Any]:
    return {"question": job.question, "label": job.label, **job.spec.fields}


def _perfetto(traced: Prediction, source: Mapping[str, str]) -> str:
    name = f"{traced.case.model.name} on {traced.case.machine.name}"
    return to_json(traced.trace, name=name, metadata=source, slot_bytes=_slot_bytes(traced))


def _slot_bytes(traced: Prediction) -> int:
    return slot_bytes(traced.case.model, traced.case.plan, traced.case.recipe)


def _traced(jobs: Sequence[Job]) -> Prediction | None:
    """The case whose timeline is drawn: the one that asks for it, or a run's only case."""
    wanted = [job for job in jobs if job.question == "timeline"]
    if not wanted and len(jobs) == 1:
        wanted = [*jobs]
    return predict(wanted[0].spec.case()) if wanted else None


def _glance(summary: Mapping[str, Any]) -> dict[str, str]:
    slowest = summary["slowest_step_s"]
    return {
        "predictions": str(summary["num_jobs"]),
        "models": str(summary["num_models"]),
        "fit device and host": f"{summary['num_fitting']:.0f}",
        "slowest step": show_seconds(slowest) if slowest is not None else "none",
    }


if __name__ == "__main__":
    sys.exit(run(main, Config))
