"""The records of a sweep, written as they come: any number of them, in the memory of a few.

Rows stand in the order of the jobs, whoever answered them when: the same jobs give the same bytes.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from experiments.folder.write import NUMBERS, RECORD_COLUMNS
from experiments.jobs.job import Job
from experiments.jobs.outline import Outline
from experiments.jobs.tables import long
from zo2sim.plan.choices import Plan, Recipe

_GROUP = 250  # jobs per row group
_MOST_CSV_JOBS = 10_000

_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}


class RecordFile:
    """``records.parquet`` in the folder ``out``, and ``records.csv`` where that stays small.

    A context manager. The files appear when all is written, or not at all.
    """

    def __init__(self, out: Path, outline: Outline) -> None:
        self._run_id = outline.run_id
        self._schema = _schema(outline.changes)
        self._jobs: list[Job] = []
        self._answers: dict[str, dict[str, Any]] = {}
        self._paths = [out / "records.parquet", out / "records.csv"]
        out.mkdir(parents=True, exist_ok=True)
        self._parquet = pq.ParquetWriter(_partial(self._paths[0]), self._schema)
        self._csv: IO[str] | None = None
        if outline.num_jobs <= _MOST_CSV_JOBS:
            self._csv = _partial(self._paths[1]).open("w", encoding="utf-8", newline="")
            self._csv.write(",".join(self._schema.names) + "\n")
        else:
            self._paths.pop().unlink(missing_ok=True)  # of a smaller run in the same folder

    def add(self, job: Job, answer: dict[str, Any]) -> None:
        """The next job's numbers."""
        self._jobs.append(job)
        self._answers[job.key] = answer
        if len(self._jobs) == _GROUP:
            self._write()

    def __enter__(self) -> "RecordFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and self._jobs:
            self._write()
        self._parquet.close()
        if self._csv is not None:
            self._csv.close()
        for path in self._paths:
            if kind is None:
                _partial(path).replace(path)
            else:
                _partial(path).unlink(missing_ok=True)

    def _write(self) -> None:
        rows = long(self._jobs, self._answers, self._run_id)
        rows = rows.reindex(columns=self._schema.names)
        table = pa.Table.from_pandas(rows, schema=self._schema, preserve_index=False)
        self._parquet.write_table(table)
        if self._csv is not None:
            rows.to_csv(self._csv, index=False, header=False)
        self._jobs.clear()
        self._answers.clear()


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _schema(changes: Sequence[str]) -> pa.Schema:
    """Columns of every row, whatever the first ones hold."""
    settings = {**asdict(Plan()), **asdict(Recipe())}
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
