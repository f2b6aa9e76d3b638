"""What a sweep found: its summary, and its report around one wide table.

Every row of a preset's questions is shown, as figures need all of them. Of a grid, which may have
any number, only the best are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.plots.sweep.figures import sweep_figures
from analysis.report.document import TRACE
from analysis.report.sweep.document import sweep_document
from experiments.case.sizes import show_seconds
from experiments.folder.traces import TraceFormat, trace_text
from experiments.folder.write import Run
from experiments.jobs.break_even import needed
from experiments.jobs.job import Job
from experiments.jobs.published import kernel_errors, memory_claims
from experiments.jobs.tables import device_items, run_id_of, wide, wide_row
from zo2sim.memory.runtime import slot_bytes
from zo2sim.predict.predict import Prediction, predict

_MOST_GRID_ROWS = 1000
_HEADLINE = ("fits", "tokens_per_s", "step_s", "lower_bound_s", "hold_out_error")

Answers = Mapping[str, Mapping[str, Any]]


def headline(jobs: Sequence[Job], answers: Answers) -> pd.DataFrame:
    """A row per job with the few columns that say how it came off; empty where none is known."""
    rows = [(j.question, j.spec.machine, *map(answers[j.key].get, _HEADLINE)) for j in jobs]
    return pd.DataFrame(rows, columns=["question", "machine", *_HEADLINE])


def summary(jobs: Sequence[Job], table: pd.DataFrame) -> dict[str, Any]:
    """The summary of the run, of a `headline`; None where nothing was predicted.

    A job without a step time, a mere account of memory, is passed over.
    """
    predicted: Any = table.dropna(subset=["step_s"])
    errors: Any = predicted.drop_duplicates("machine")
    return {
        "run_id": run_id_of(jobs),
        "num_jobs": len(jobs),
        "num_models": len({job.spec.model for job in jobs}),
        "num_fitting": float(predicted["fits"].sum()),
        "fastest_tokens_per_s": _largest(predicted["tokens_per_s"]),
        "slowest_step_s": _largest(predicted["step_s"]),
        "largest_gap_to_bound": _largest(predicted["step_s"] / predicted["lower_bound_s"] - 1.0),
        "hold_out_errors": dict(zip(errors["machine"], errors["hold_out_error"], strict=True)),
    }


def _largest(column: pd.Series) -> float | None:
    return None if column.empty else float(column.max())


def with_report(
    run: Run,
    jobs: Sequence[Job],
    answers: Answers,
    table: pd.DataFrame,
    *,
    trace_format: TraceFormat,
) -> Run:
    """The run with words, figures, and the trace of the case that is drawn."""
    shown = wide([wide_row(jobs[n], answers[jobs[n].key]) for n in _shown(table)])
    drawn = (job for job in jobs if job.question == "timeline" or len(jobs) == 1)
    traced = next((predict(job.spec.case()) for job in drawn), None)
    trace = None if traced is None else traced.trace
    itemised = [job for job in jobs if job.question == "breakdown"]
    claims = memory_claims()
    document = sweep_document(
        shown,
        claims,
        trace=trace,
        summary=_glance(run.summary),
        provenance=run.provenance,
        beside=_beside(jobs),
    )
    figures = sweep_figures(
        shown,
        claims,
        trace=trace,
        items=device_items(itemised) if itemised else None,
    )
    traces = {} if traced is None else {TRACE: _trace(traced, trace_format, run.provenance)}
    return replace(run, document=document, figures=figures, traces=traces)


def _beside(jobs: Sequence[Job]) -> dict[str, pd.DataFrame]:
    """What the report shows that no job answers."""
    hidden = needed(jobs)
    return {"kernels": kernel_errors(), **({} if hidden is None else {"needed": hidden})}


def _shown(table: pd.DataFrame) -> list[int]:
    """Numbers of the jobs that the report shows, in order; of equal ones the first are best."""
    grid: Any = table[table["question"] == "grid"]
    best = grid.sort_values(["fits", "tokens_per_s"], ascending=False, kind="stable")
    return [int(number) for number in table.index.difference(best.index[_MOST_GRID_ROWS:])]


def _trace(traced: Prediction, form: TraceFormat, source: Mapping[str, str]) -> str:
    case = traced.case
    return trace_text(
        traced.trace,
        form,
        name=f"{case.model.name} on {case.machine.name}",
        metadata=source,
        slot_bytes=slot_bytes(case.model, case.plan, case.recipe),
        copied_bytes=traced.copied_bytes,
    )


def _glance(summary: Mapping[str, Any]) -> dict[str, str]:
    slowest = summary["slowest_step_s"]
    return {
        "predictions": str(summary["num_jobs"]),
        "models": str(summary["num_models"]),
        "fit device and host": f"{summary['num_fitting']:.0f}",
        "slowest step": show_seconds(slowest) if slowest is not None else "none",
    }
