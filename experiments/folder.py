"""A run's folder: resolved config, records, summary, trace, figures, reports."""

import gzip
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.report.document import Document
from analysis.style import svg_text
from experiments.cli import write_file, write_json
from experiments.job import Job
from zo2sim.trace import Trace
from zo2sim.trace_export import to_json


def write_config(out: Path, jobs: Sequence[Job]) -> None:
    """Every job with all of its settings, as resolved."""
    rows = [{"question": j.question, "label": j.label, **j.spec.fields} for j in jobs]
    write_json(str(out / "config.json"), {"jobs": rows})


def write_records(out: Path, records: pd.DataFrame) -> None:
    """The long-format table as Parquet and as CSV."""
    parquet = BytesIO()
    records.to_parquet(parquet, index=False)
    write_file(out / "records.parquet", parquet.getvalue())
    write_file(out / "records.csv", records.to_csv(index=False).encode())


def write_summary(out: Path, summary: Mapping[str, Any]) -> None:
    """Headline numbers of the run."""
    write_json(str(out / "summary.json"), summary)


def write_trace(
    out: Path, trace: Trace, *, name: str, slot_bytes: int, metadata: Mapping[str, str]
) -> None:
    """The trace as Chrome/Kineto JSON, which Perfetto opens."""
    text = to_json(trace, name=name, metadata=metadata, slot_bytes=slot_bytes)
    write_file(out / "trace.json.gz", gzip.compress(text.encode(), mtime=0))


def write_report(out: Path, document: Document, figures: Mapping[str, Figure]) -> None:
    """Figures as SVG, the report as PDF and as one HTML file.

    Raises ``ValueError`` where the packages that typeset it are not installed.
    """
    try:
        from analysis.report.html import html_text
        from analysis.report.pdf import pdf_bytes
    except ImportError as error:
        raise ValueError(
            f"a report needs the package {error.name}; install 'zo2sim[report]', or use --no-report"
        ) from None
    drawn = {key: svg_text(figure) for key, figure in figures.items()}
    for key, svg in drawn.items():
        write_file(out / "figures" / f"{key}.svg", svg.encode())
    write_file(out / "report.html", html_text(document, drawn).encode())
    write_file(out / "report.pdf", pdf_bytes(document, drawn))
