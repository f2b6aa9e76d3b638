"""The records of a sweep, some jobs at a time: any number of them, in the memory of a few.

Rows stand in the order of the jobs, whoever answered them when: the same jobs give the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from experiments.case.spec import Spec
from experiments.cli import whole
from experiments.folder.write import NUMBERS, RECORD_COLUMNS, inert
from experiments.jobs.job import Job
from experiments.jobs.tables import long, run_id_of
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.file import fields_of

_GROUP = 250  # jobs per row group
_MOST_CSV_JOBS = 10_000

_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}


def write_records(out: Path, jobs: Sequence[Job], answers: Mapping[str, Mapping[str, Any]]) -> None:
    """``records.parquet`` in the folder ``out``, and ``records.csv`` where that stays small."""
    schema = _schema([job.spec for job in jobs])
    identity = run_id_of(jobs)
    with (
        whole(out / "records.parquet") as partial,
        pq.ParquetWriter(partial, schema) as parquet,
        _csv(out / "records.csv", schema.names, num_jobs=len(jobs)) as csv,
    ):
        for first in range(0, len(jobs), _GROUP):
            rows = long(jobs[first : first + _GROUP], answers, identity)
            rows = rows.reindex(columns=schema.names)
            parquet.write_table(pa.Table.from_pandas(rows, schema=schema, preserve_index=False))
            if csv is not None:
                inert(rows).to_csv(csv, index=False, header=False)


@contextmanager
def _csv(path: Path, names: Sequence[str], *, num_jobs: int) -> Iterator[IO[str] | None]:
    """A file with a heading; None where it would be large: one of a smaller run is removed."""
    if num_jobs > _MOST_CSV_JOBS:
        path.unlink(missing_ok=True)
        yield None
    else:
        with whole(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(names) + "\n")
            yield file


def _schema(specs: Sequence[Spec]) -> pa.Schema:
    """Columns of every row, whatever the first ones hold."""
    plan = max((spec.plan for spec in specs), key=lambda plan: plan.devices, default=Plan())
    settings = {**fields_of(plan), **asdict(Recipe())}
    changes = (key for spec in specs for key, _ in spec.changes)
    texts = ("question", "label", "model", "machine")
    columns = {
        **dict.fromkeys(RECORD_COLUMNS, pa.string()),
        **dict.fromkeys(NUMBERS, pa.float64()),
        **dict.fromkeys(texts, pa.string()),
        **{name: _TYPES.get(type(value), pa.string()) for name, value in settings.items()},
        **dict.fromkeys(changes, pa.float64()),
        "text": pa.string(),
    }
    return pa.schema(list(columns.items()))
