"""A report without words of its own: headline numbers as a table, every figure, every file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from analysis.plots.style import COLUMN_IN
from analysis.report.document import (
    Block,
    Document,
    FigureBlock,
    File,
    Paragraph,
    Ref,
    Section,
    TableBlock,
    Text,
)
from analysis.report.wording import DASH, number
from analysis.table import Table, floats, unique, where

_MOST_ROWS = 40
_COLUMN_PT = 1.2 * 72 * COLUMN_IN
_WIDTH = re.compile(r'<svg[^>]*? width="([\d.]+)pt"')


def plain_document(
    *,
    title: str,
    summary: Mapping[str, Any],
    figures: Mapping[str, str],
    files: tuple[str, ...],
    provenance: Mapping[str, str],
    records: Table | None = None,
) -> Document:
    """What a run holds, shown as it is; lists inside the summary are counted.

    ``figures`` is SVG text by key. ``records`` has a row per number with columns metric, value
    and unit.
    """
    blocks = [
        *_summary(summary),
        *_records(records),
        *_figures(figures),
        *files_offered(files),
    ]
    return Document(
        title=title,
        abstract=(f"{title}: what it left behind, without a comment.",),
        sections=(Section("What was found", tuple(blocks)),) if blocks else (),
        provenance=tuple(provenance.items()),
    )


def files_offered(files: tuple[str, ...]) -> tuple[Block, ...]:
    """One paragraph that offers the traces, if there are any."""
    if not files:
        return ()
    parts: list[Text] = [(File(name), ", " if name != files[-1] else "") for name in files]
    return (
        Paragraph(
            "Every operation, with its times and what it reads and writes, is in ",
            *(piece for part in parts for piece in part),
            ", which ui.perfetto.dev and chrome://tracing open.",
        ),
    )


def _summary(summary: Mapping[str, Any]) -> Iterator[Block]:
    rows = [(name.replace("_", " "), _cell(value)) for name, value in _flat(summary)]
    if not rows:
        return
    more = len(rows) - _MOST_ROWS
    caption = "Headline numbers" + (f"; {more} more are in summary.json." if more > 0 else ".")
    yield Paragraph(Ref("summary"), " has the headline numbers.")
    yield TableBlock(
        key="summary", caption=caption, header=("what", "value"), rows=tuple(rows[:_MOST_ROWS])
    )


def _records(records: Table | None) -> Iterator[Block]:
    if records is None:
        return
    rows = [_metric(records, metric) for metric in unique(records, "metric")[:_MOST_ROWS]]
    if rows:
        yield Paragraph(Ref("recorded"), " sums up what was recorded.")
        yield TableBlock(
            key="recorded",
            caption="Metrics of the records; smallest, median and largest value.",
            header=("metric", "unit", "count", "least", "median", "most"),
            rows=tuple(rows),
            wide=True,
        )


def _metric(records: Table, metric: str) -> tuple[str, ...]:
    own = where(records, "metric", metric)
    values = floats(own, "value")
    known = values[~np.isnan(values)]
    ends = (known.min(), np.median(known), known.max()) if len(known) else (np.nan,) * 3
    units = [unit for unit in unique(own, "unit") if unit]
    return (metric, "/".join(units), str(len(own)), *(_short(float(end)) for end in ends))


def _flat(summary: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers and texts of nested objects under dotted names."""
    for name, value in summary.items():
        if isinstance(value, Mapping):
            yield from _flat(cast("Mapping[str, Any]", value), f"{prefix}{name}.")
        elif f"{prefix}{name}" != "schema":
            yield f"{prefix}{name}", value


def _cell(value: object) -> str:
    match value:
        case None:
            return DASH
        case bool():
            return "yes" if value else "no"
        case int():
            return str(value)
        case float():
            return _short(value)
        case list() | tuple():
            return f"{len(cast('Sequence[Any]', value))} entries"
        case _:
            return str(value)


def _short(value: float) -> str:
    """Three digits, large and tiny ones with an exponent: these may be bytes."""
    plain = value != value or value == 0 or 1e-3 <= abs(value) < 1e6
    return number(value) if plain else f"{value:.3g}"


def _figures(figures: Mapping[str, str]) -> Iterator[Block]:
    for key, svg in figures.items():
        name = key.replace("-", " ").replace("_", " ")
        yield Paragraph(Ref(key), f" shows {name}.")
        yield FigureBlock(key=key, caption=f"{name.capitalize()}.", wide=_is_wide(svg))


def _is_wide(svg: str) -> bool:
    width = _WIDTH.search(svg)
    return width is not None and float(width[1]) > _COLUMN_PT
