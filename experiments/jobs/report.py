"""The report of a sweep, gathered one answer at a time.

Rows of a preset's questions are kept, as figures need all of them. Of a grid, which may have any
number, only the best are.
"""

import heapq
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from analysis.plots.sweep.figures import sweep_figures
from analysis.report.document import TRACE
from analysis.report.sweep.document import sweep_document
from experiments.case.sizes import show_seconds
from experiments.folder.write import Run
from experiments.jobs.job import Job
from experiments.jobs.outline import Outline
from experiments.jobs.published import kernel_errors, memory_claims
from experiments.jobs.tables import device_items, wide, wide_row
from zo2sim.memory.runtime import slot_bytes
from zo2sim.predict.predict import Prediction, predict
from zo2sim.simulate.perfetto import to_json

_MOST_GRID_ROWS = 1000


class SweepReport:
    """Takes answers in the order of the jobs, and puts the report into the run."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._rows: list[tuple[int, dict[str, Any]]] = []
        self._best: list[tuple[tuple[float, float, int], dict[str, Any]]] = []
        self._traced: Job | None = None
        self._itemised: list[Job] = []
        self._count = 0

    def add(self, job: Job, answer: Mapping[str, Any]) -> None:
        """The next job and its numbers."""
        self._count += 1
        if job.question == "grid":
            place = (answer["fits"], answer["tokens_per_s"], -self._count)
            push = heapq.heappush if len(self._best) < _MOST_GRID_ROWS else heapq.heappushpop
            push(self._best, (place, wide_row(job, answer)))
        else:
            self._rows.append((self._count, wide_row(job, answer)))
        if self._traced is None and (job.question == "timeline" or self._outline.num_jobs == 1):
            self._traced = job
        if job.question == "breakdown":
            self._itemised.append(job)

    def put_into(self, run: Run) -> Run:
        """The run with words, figures, and the trace of the case that is drawn."""
        best = [(-place[2], row) for place, row in self._best]
        table = wide([row for _, row in sorted([*self._rows, *best], key=lambda one: one[0])])
        traced = None if self._traced is None else predict(self._traced.spec.case())
        trace = None if traced is None else traced.trace
        claims = memory_claims()
        document = sweep_document(
            table,
            claims,
            trace=trace,
            summary=_glance(run.summary),
            provenance=run.provenance,
            kernels=kernel_errors(),
        )
        figures = sweep_figures(
            table,
            claims,
            trace=trace,
            slot_bytes=None if traced is None else _slot_bytes(traced),
            items=device_items(self._itemised) if self._itemised else None,
        )
        traces = {} if traced is None else {TRACE: _perfetto(traced, run.provenance)}
        return replace(run, document=document, figures=figures, traces=traces)


def _perfetto(traced: Prediction, source: Mapping[str, str]) -> str:
    name = f"{traced.case.model.name} on {traced.case.machine.name}"
    return to_json(traced.trace, name=name, metadata=source, slot_bytes=_slot_bytes(traced))


def _slot_bytes(traced: Prediction) -> int:
    return slot_bytes(traced.case.model, traced.case.plan, traced.case.recipe)


def _glance(summary: Mapping[str, Any]) -> dict[str, str]:
    slowest = summary["slowest_step_s"]
    return {
        "predictions": str(summary["num_jobs"]),
        "models": str(summary["num_models"]),
        "fit device and host": f"{summary['num_fitting']:.0f}",
        "slowest step": show_seconds(slowest) if slowest is not None else "none",
    }
