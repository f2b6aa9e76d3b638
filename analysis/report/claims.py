"""The report on published claims: published, predicted, error, verdict, and why."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from analysis.claims.row import Row
from analysis.report.document import (
    Block,
    Document,
    FigureBlock,
    Paragraph,
    Ref,
    Section,
    TableBlock,
)
from analysis.report.wording import counted, number, signed_percent


def claims_document(rows: Sequence[Row], *, provenance: Mapping[str, str]) -> Document:
    """Every value of every claim; the figure is `analysis.plots.claims.claims`, key ``claims``."""
    wrong = [row for row in rows if not row.agrees]
    agree = len(rows) - len(wrong)
    found = (
        f"Of {counted(len(rows), 'published value')}, {agree} agree with what the same schedules "
        f"and cost model predict; {len(wrong)} do not, and each of these says why."
    )
    overview: tuple[Block, ...] = (
        Paragraph((found + " ", Ref("claims"), " shows predictions over publications.")),
        FigureBlock(
            key="claims",
            caption=("Prediction over publication, value by value. Bars: plausible setups.",),
            wide=True,
        ),
        *_claims(rows),
    )
    sections = [Section("Published and predicted", overview)]
    if wrong:
        sections.append(Section("Where they disagree", tuple(map(_reason, wrong))))
    return Document(
        title="Published claims, and what is predicted for them",
        abstract=(found,),
        sections=tuple(sections),
        provenance=tuple(provenance.items()),
    )


def _claims(rows: Sequence[Row]) -> list[Block]:
    table = TableBlock(
        key="claim-values",
        caption=("Published values beside predictions; each claim's source is named below.",),
        header=("claim", "value", "published", "predicted", "error", "verdict"),
        rows=tuple(map(_cells, rows)),
        wide=True,
    )
    sources = [f"{claim}: {next(own).source}." for claim, own in groupby(rows, lambda r: r.claim)]
    return [
        Paragraph((Ref("claim-values"), " has every number.")),
        table,
        Paragraph(("Sources. " + " ".join(sources),)),
    ]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.claim,
        f"{row.item} ({row.unit})",
        number(row.published),
        number(row.predicted),
        signed_percent(row.relative_error),
        "agrees" if row.agrees else "disagrees",
    )


def _reason(row: Row) -> Paragraph:
    return Paragraph((f"{row.claim}, {row.item}: {row.why or 'nothing says why'}",))
