"""A run's folder: what every command leaves behind, and what `experiments.report` takes.

    run.json          which command, and where its numbers come from; it is there from the beginning
    config.json       every setting, as resolved
    summary.json      headline numbers: what --json prints
    records.parquet   the long table, and records.csv beside it
    samples.parquet   what the machine did meanwhile, a row per moment
    trace.json.gz     Chrome/Kineto JSON, which Perfetto opens
    figures/KEY.svg   pictures
    report.json       the report as data: sections, captions, tables (`analysis.report.document`)
    report.pdf, .html the same, typeset

Only summary.json or records.parquet has to be there for a folder to count as a run; a paper shows
what there is. A command writes all of it with one call:

    write_run(config.out, Run(verb="tune", config=..., summary=..., provenance=provenance(...)))
"""

import base64
import gzip
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from matplotlib.figure import Figure

from analysis.plots.style import svg_text
from analysis.report.document import Document
from analysis.report.document_file import dump
from analysis.report.plain import plain_document
from analysis.report.trust import states_trust
from experiments.cli import MARK, write_file, write_json
from experiments.folder import write as folder
from experiments.folder.provenance import run_id
from zo2sim.plan.choices import Plan
from zo2sim.plan.file import fields_of

JOURNAL = "journal"
"""Where a run's folder keeps what the engine resumes from."""


RECORD_COLUMNS = (
    *("run_id", "config_hash", "metric", "value", "unit", "low", "high", "provenance"),
)
"""Columns that every table of records has, in this order, before those of the settings."""

NUMBERS = ("value", "low", "high")
"""Columns of records that hold numbers; where one is not known it is empty."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MOST_CARRIED_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run found. All but the first four may be left out.

    ``config``, ``summary`` and ``provenance`` are plain JSON; ``provenance`` is that of
    `experiments.folder.provenance.provenance`. ``records`` is long, with `RECORD_COLUMNS` (see
    `records`); a command that streams its records writes them itself. ``samples`` is a table of
    `experiments.campaign.samples.sample_frame`. ``traces`` holds Chrome/Kineto text (or bytes,
    packed before) by the name of its file (`TRACE`, or ``measured.json.gz``). ``document`` says in
    words what was found, with ``figures`` (or SVG text) under the keys of its figure blocks; where
    there is none, a plain one lists the summary and shows every figure.
    """

    verb: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    provenance: Mapping[str, str]
    records: pd.DataFrame | None = None
    samples: pd.DataFrame | None = None
    figures: Mapping[str, Figure | str] = field(default_factory=dict[str, Figure | str])
    traces: Mapping[str, str | bytes] = field(default_factory=dict[str, str | bytes])
    document: Document | None = None

    def __post_init__(self) -> None:
        if self.records is not None:
            missing = [name for name in RECORD_COLUMNS if name not in self.records]
            if missing:
                raise ValueError(
                    f"records of {self.verb} must have the columns {', '.join(RECORD_COLUMNS)}; "
                    f"missing: {', '.join(missing)}"
                )
        said = self.document
        if said is not None and not said.is_assembled and not states_trust(said):
            raise ValueError(f"the report of {self.verb} must say how far to trust it")
        for name in self.traces:
            if not name.endswith(".json.gz") or Path(name).name != name:
                raise ValueError(f"a trace must be called NAME.json.gz; got {name!r}")

    def shown(self, drawn: Mapping[str, str]) -> Document:
        """The document, or a plain one around the drawn figures."""
        if self.document is not None:
            return self.document
        return plain_document(
            title=f"A run of zo2sim {self.verb}",
            summary=self.summary,
            figures=drawn,
            files=tuple(self.traces),
            provenance=self.provenance,
        )


def write_run(out: Path, run: Run, *, typeset: bool = True) -> None:
    """Write the folder; ``typeset`` also sets the report as PDF and as one HTML file.

    Each file appears whole or not at all. The same run gives the same bytes. Raises
    ``ValueError`` where the packages that typeset are not installed.
    """
    drawn = {key: _drawn(figure) for key, figure in run.figures.items()}
    document = run.shown(drawn)
    packed = {name: _packed(content) for name, content in run.traces.items()}
    write_json(str(out / MARK), {"verb": run.verb, "provenance": dict(run.provenance)})
    write_json(str(out / "config.json"), run.config)
    write_json(str(out / "summary.json"), run.summary)
    if run.records is not None:
        write_records(out, run.records)
    if run.samples is not None:
        write_samples(out, run.samples)
    for name, content in packed.items():
        write_file(out / name, content)
    for key, svg in drawn.items():
        write_file(out / "figures" / f"{key}.svg", svg.encode())
    write_file(out / "report.json", dump(document).encode())
    if typeset:
        write_report(out, document, drawn, packed)


def records(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A table of records from one dictionary per number, its other keys as further columns.

    ``low`` and ``high`` may be left out. Text, such as the name of what binds, stands in a column
    of its own, ``text``, with an empty ``value``.
    """
    table = pd.DataFrame(rows)
    for name in ("low", "high"):
        if name not in table:
            table[name] = None
    others = [name for name in table.columns if name not in RECORD_COLUMNS]
    table = table.reindex(columns=[*RECORD_COLUMNS, *others])
    return table.astype(dict.fromkeys(NUMBERS, "float64"))


def write_records(out: Path, table: pd.DataFrame) -> None:
    """The long table as Parquet and as CSV."""
    write_file(out / "records.parquet", _parquet(table))
    write_file(out / "records.csv", inert(table).to_csv(index=False).encode())


def inert(table: pd.DataFrame) -> pd.DataFrame:
    """The table, in whose CSV no spreadsheet takes a text for a formula: it gets a quote before."""
    texts = table.select_dtypes(include=["object", "string"]).columns
    return table.assign(**{name: table[name].map(_quoted) for name in texts})


def _quoted(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def write_samples(out: Path, table: pd.DataFrame) -> None:
    """The table of `experiments.campaign.samples.sample_frame` as Parquet."""
    write_file(out / "samples.parquet", _parquet(table))


def typesetters() -> tuple[Callable[..., str], Callable[..., bytes]]:
    """What makes a document's page and its PDF; asked for before the work that is to be reported.

    Raises ``ValueError`` where their packages are not installed.
    """
    try:
        from analysis.report.html import html_text
        from analysis.report.pdf import pdf_bytes
    except ImportError as error:
        raise ValueError(
            f"a report needs the package {error.name}; install 'zo2sim[report]', or use --no-report"
        ) from None
    return html_text, pdf_bytes


def write_report(
    out: Path, document: Document, drawn: Mapping[str, str], packed: Mapping[str, bytes]
) -> None:
    """A document as ``report.pdf`` and ``report.html``; the page carries the packed files.

    Raises ``ValueError`` where the packages that typeset it are not installed.
    """
    html_text, pdf_bytes = typesetters()
    links = {name: _link(name, content) for name, content in packed.items()}
    write_file(out / "report.html", html_text(document, drawn, links).encode())
    write_file(out / "report.pdf", pdf_bytes(document, drawn))


def _parquet(table: pd.DataFrame) -> bytes:
    content = BytesIO()
    table.to_parquet(content, index=False)
    return content.getvalue()


def _drawn(figure: Figure | str) -> str:
    return figure if isinstance(figure, str) else svg_text(figure)


def _packed(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else gzip.compress(content.encode(), mtime=0)


def _link(name: str, packed: bytes) -> str:
    """The file itself as an address, so that the page needs no other; a large one lies beside."""
    if len(packed) > _MOST_CARRIED_BYTES:
        return quote(name)
    return f"data:application/gzip;base64,{base64.b64encode(packed).decode()}"


_OF_THIS_CALL = ("out", "json", "write_plan", "figure", "check", "show", "text")

Number = tuple[Mapping[str, Any], str, float | None, str]
"""What a number is of, its metric, its value, and the unit."""


def settings(config: object) -> dict[str, Any]:
    """Every setting of a command as plain data, without where its results go."""
    assert is_dataclass(config), "a command is configured by a dataclass"
    assert not isinstance(config, type), "settings are those of an instance"
    values = {k: v for k, v in asdict(config).items() if k not in _OF_THIS_CALL}
    values |= {k: fields_of(v) for k in values if isinstance(v := getattr(config, k), Plan)}
    return json.loads(json.dumps(values, default=str))


def number_records(
    config: Mapping[str, Any], numbers: Iterable[Number], *, source: str
) -> pd.DataFrame:
    """The numbers as a table of records; ``source`` says what they rest on."""
    identity = run_id(f"{key}={value}" for key, value in config.items())
    common = {"run_id": identity, "config_hash": identity, "provenance": source}
    return folder.records(
        [
            {**common, **of, "metric": metric, "value": value, "unit": unit}
            for of, metric, value, unit in numbers
        ]
    )
