"""A report without words of its own: headline numbers as a table, every figure, every file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

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

_MOST_ROWS = 40


def plain_document(
    *,
    title: str,
    summary: Mapping[str, Any],
    figures: tuple[str, ...],
    files: tuple[str, ...],
    provenance: Mapping[str, str],
) -> Document:
    """What a run holds, shown as it is; lists and tables inside the summary are counted."""
    blocks = [*_summary(summary), *_figures(figures), *files_offered(files)]
    return Document(
        title=title,
        abstract=(f"What {title} left behind, without a comment.",),
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
            (
                "Every operation, with its times and what it reads and writes, is in ",
                *(piece for part in parts for piece in part),
                ", which ui.perfetto.dev and chrome://tracing open.",
            )
        ),
    )


def _summary(summary: Mapping[str, Any]) -> Iterator[Block]:
    rows = [(name.replace("_", " "), _cell(value)) for name, value in _flat(summary)]
    if not rows:
        return
    more = len(rows) - _MOST_ROWS
    caption = "Headline numbers" + (f"; {more} more are in summary.json." if more > 0 else ".")
    yield Paragraph((Ref("summary"), " has the headline numbers."))
    yield TableBlock(
        key="summary", caption=(caption,), header=("what", "value"), rows=tuple(rows[:_MOST_ROWS])
    )


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
            return number(value)
        case list() | tuple():
            return f"{len(cast('Sequence[Any]', value))} entries"
        case _:
            return str(value)


def _figures(keys: tuple[str, ...]) -> Iterator[Block]:
    for key in keys:
        yield Paragraph(("See ", Ref(key), "."))
        yield FigureBlock(key=key, caption=(f"{key.replace('-', ' ').replace('_', ' ')}.",))
