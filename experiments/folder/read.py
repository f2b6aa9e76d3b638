"""A run's folder, read back: what `experiments.report` puts into a paper.

Any folder with a summary.json, records.parquet or report.json is a run. One without a report of
its own gets a plain one: headline numbers, what was recorded, every figure, every trace.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.report.document import Document
from analysis.report.document_file import load
from analysis.report.plain import plain_document
from experiments.cli import json_object
from zo2sim.reading import read_text

_MARKS = ("report.json", "summary.json", "records.parquet")
_FOREIGN = re.compile(
    r"<script|<foreignObject|\bon\w+\s*=|href\s*=\s*[\"'](?!#|data:)", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What a folder holds. ``figures`` is SVG text by key, ``traces`` packed bytes by name."""

    verb: str
    document: Document
    figures: dict[str, str]
    traces: dict[str, bytes]
    num_records: int

    @classmethod
    def read(cls, path: Path) -> "FinishedRun":
        """Read a folder. Raises ``ValueError`` that names it where it holds no run."""
        if not any((path / name).is_file() for name in _MARKS):
            raise ValueError(
                f"a run must be a folder with one of {', '.join(_MARKS)}; got {path}, which "
                + ("has none" if path.is_dir() else "is no folder")
            )
        figures = {_key(p.stem): _picture(p) for p in sorted((path / "figures").glob("*.svg"))}
        traces = {p.name: p.read_bytes() for p in sorted(path.glob("*.json.gz"))}
        identity = _json(path / "run.json")
        verb = str(identity.get("verb", "unknown"))
        records = path / "records.parquet"
        return cls(
            verb=verb,
            document=_document(path, verb, identity, figures, traces),
            figures=figures,
            traces=traces,
            num_records=_num_rows(records) if records.is_file() else 0,
        )


def _document(
    path: Path,
    verb: str,
    identity: Mapping[str, Any],
    figures: Mapping[str, str],
    traces: Mapping[str, bytes],
) -> Document:
    own = path / "report.json"
    if own.is_file():
        document = load(read_text(own), where=str(own))
        missing = [key for key in document.figure_keys if key not in figures]
        if missing:
            raise ValueError(f"{path}: its report shows figures/{missing[0]}.svg, which is missing")
        return document
    records = path / "records.parquet"
    return plain_document(
        title=f"{path.resolve().name} ({verb})",
        summary=_json(path / "summary.json"),
        figures=figures,
        files=tuple(traces),
        provenance=identity.get("provenance", {}),
        records=_metrics(records) if records.is_file() else None,
    )


def _json(path: Path) -> dict[str, Any]:
    """An object of JSON; empty where there is no such file."""
    return json_object(read_text(path), where=str(path)) if path.is_file() else {}


def _num_rows(path: Path) -> int:
    with _parquet(path):
        return pq.read_metadata(path).num_rows


def _metrics(path: Path) -> pd.DataFrame:
    """The columns that say what was recorded; the settings may be many."""
    with _parquet(path):
        known = pq.read_schema(path).names
        names = [name for name in ("metric", "value", "unit") if name in known]
        return pd.read_parquet(path, columns=names)


@contextmanager
def _parquet(path: Path) -> Iterator[None]:
    """What is said of a file that is none."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path}: must be a Parquet file; {error}") from None


def _picture(path: Path) -> str:
    """SVG text that can stand in a page. Raises ``ValueError`` where it would fetch or run."""
    text = read_text(path)
    found = _FOREIGN.search(text)
    if found is not None:
        raise ValueError(f"{path}: a picture must not run or fetch anything; got {found.group()!r}")
    return text


def _key(stem: str) -> str:
    """The name of a file as the key of a figure."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", stem.lower())
    return plain if plain[:1].isalpha() else f"figure-{plain}"
