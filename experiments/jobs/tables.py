"""A sweep's answers as tables: wide for figures, long for files, both in the order of the jobs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from experiments.answer.metrics import UNITS
from experiments.folder.provenance import run_id
from experiments.folder.write import records
from experiments.jobs.job import Job
from zo2sim.memory.account import MemoryPlace

_PROVENANCE = "predicted"
_ENDS = ("_low", "_high")


def run_id_of(jobs: Iterable[Job]) -> str:
    """Identifies a sweep by what its jobs ask, and under which names."""
    return run_id(f"{job.question}/{job.label}/{job.key}" for job in jobs)


def wide_row(job: Job, answer: Mapping[str, Any]) -> dict[str, Any]:
    """One row of a wide table: question, label, every setting, every metric."""
    return {"question": job.question, "label": job.label, **job.spec.fields, **answer}


def wide(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The wide table that figures and reports take."""
    table = pd.DataFrame(rows)
    for column in ("fits", "fits_device"):
        if column in table:
            table[column] = table[column].fillna(0.0).astype(bool)
    return table


def long(
    jobs: Sequence[Job], answers: Mapping[str, Mapping[str, Any]], identity: str
) -> pd.DataFrame:
    """One row per job and metric: run_id, config_hash, metric, value, unit, low, high, provenance.

    Settings stand beside each row. ``low`` and ``high`` end the 90 % band where one was asked for.
    ``text`` holds what is no number, such as the binding resource.
    """
    rows = [row for job in jobs for row in _long_rows(job, answers[job.key], identity)]
    return records(rows).astype({"text": "string"})


def _long_rows(job: Job, answer: Mapping[str, Any], identity: str) -> Iterator[dict[str, Any]]:
    settings = {
        "run_id": identity,
        "config_hash": job.spec.config_hash,
        "provenance": _PROVENANCE,
        "question": job.question,
        "label": job.label,
        **job.spec.fields,
    }
    for metric, value in answer.items():
        if metric.endswith(_ENDS):
            continue  # stands beside the metric that it belongs to
        is_text = isinstance(value, str)
        yield {
            **settings,
            "metric": metric,
            "value": None if is_text else value,
            "text": value if is_text else None,
            "unit": UNITS.get(metric, ""),
            "low": answer.get(f"{metric}_low"),
            "high": answer.get(f"{metric}_high"),
        }


def device_items(jobs: Sequence[Job]) -> pd.DataFrame:
    """Device memory of each job, item by item: label, item, bytes."""
    rows = [
        {"label": job.label, "item": item, "bytes": float(nbytes)}
        for job in jobs
        for item, nbytes in job.spec.case().memory.itemised(MemoryPlace.DEVICE).items()
    ]
    return pd.DataFrame(rows)
