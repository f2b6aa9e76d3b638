"""The report on published claims: published, predicted, error, verdict, and why."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from analysis.claims.row import Context, Row
from analysis.report.document import (
    Block,
    Document,
    FigureBlock,
    Paragraph,
    Ref,
    Section,
    TableBlock,
)
from analysis.report.trust import Grounds, trust_section
from analysis.report.wording import DASH, counted, number, percent, signed_percent, span
from analysis.scores.summary import Summary, summaries
from analysis.scores.times import time_scores
from zo2sim.memory.account import load_constants

_CONTEXT: Mapping[Context, str] = {"": "", "fitted": ", fitted", "used": ", uses fit"}


def claims_document(rows: Sequence[Row], *, provenance: Mapping[str, str]) -> Document:
    """Every value of every claim; the figure is `analysis.plots.claims.claims`, key ``claims``."""
    wrong = [row for row in rows if not row.agrees]
    agree = len(rows) - len(wrong)
    fitted = sum(row.agrees and row.context == "fitted" for row in rows)
    found = (
        f"Of {counted(len(rows), 'published value')}, {agree} agree with what the same schedules "
        f"and cost model predict, of which {fitted} helped to fit the one constant that they "
        f"share; {len(wrong)} do not, and each of these says why."
    )
    overview: tuple[Block, ...] = (
        Paragraph(found + " ", Ref("claims"), " shows predictions over publications."),
        Paragraph(" ".join(context_notes(rows))),
        FigureBlock(
            key="claims",
            caption="Prediction over publication, value by value, where more is predicted than "
            "whether something fits. Bars: plausible setups.",
            wide=True,
        ),
        *_claims(rows),
    )
    sections = [Section("Published and predicted", overview)]
    sections.append(Section("Measured on GPUs", tuple(_gpus())))
    if wrong:
        sections.append(Section("Where they disagree", tuple(map(_reason, wrong))))
    sections.append(trust_section({"what others measured": _grounds(summaries()[-1])}))
    return Document(
        title="Published claims, and what is predicted for them",
        abstract=(found,),
        sections=tuple(sections),
        provenance=tuple(provenance.items()),
    )


def context_notes(rows: Sequence[Row]) -> tuple[str, str]:
    """What it means that a row helped to fit the CUDA context, and that it only uses it."""
    fitted = [row for row in rows if row.context == "fitted"]
    errors = [row.left_out_error for row in fitted if row.left_out_error is not None]
    ends = f" ({signed_percent(min(errors))} to {signed_percent(max(errors))})" if errors else ""
    size = f"{load_constants().context_bytes / 1e9:.3f} GB"
    return (
        f"Fitted: the CUDA context of {size} is the best for these {len(fitted)} values, so they "
        "are no independent evidence. What is predicted for each with the context fitted to the "
        f"others is called left out{ends}.",
        "Uses fit: the same context, to which the value was not fitted. Other memory values rest "
        "on no fitted constant.",
    )


def _gpus() -> Iterator[Block]:
    """Predictions scored against measurements of others, each with its own source left out."""
    yield Paragraph(
        "What others measured on real GPUs, beside predictions that owe nothing to the source of "
        "the measurement. Nothing of it was measured by this project. ",
        Ref("gpu-kinds"),
        " sums up, ",
        Ref("gpu-times"),
        " has every time.",
    )
    yield TableBlock(
        key="gpu-kinds",
        caption="Relative errors, and bands of 90 %: the share that holds the measurement, and "
        "their median width over the prediction.",
        header=("kind", "n", "median", "90th percentile", "signed", "bands hold", "width"),
        rows=tuple(
            (
                s.kind,
                str(s.count),
                percent(s.median),
                percent(s.p90),
                signed_percent(s.signed),
                percent(s.held),
                percent(s.width),
            )
            for s in summaries()
        ),
    )
    yield TableBlock(
        key="gpu-times",
        caption="Times of forwards, and tokens generated per second.",
        header=("measurement", "unit", "measured", "predicted", "error", "90 % band"),
        rows=tuple(
            (
                s.name,
                s.unit,
                number(s.measured),
                number(s.left_out.value),
                signed_percent(s.error),
                span(s.left_out.low, s.left_out.high, number),
            )
            for s in time_scores()
        ),
        wide=True,
    )
    names = sorted({s.source for s in time_scores()})
    yield Paragraph("Sources. " + ". ".join(names) + ".")


def _grounds(found: Summary) -> Grounds:
    """How far predictions were off that owe nothing to a measurement's source."""
    return {
        "band": f"{percent(found.held)} of {found.count} measurements lie in theirs",
        "band_holds": "how far other sources' measurements scatter",
        "band_lacks": "settings that a source does not say",
        "hold_out_error": f"{percent(found.median)} median, {percent(found.p90)} at the 90th "
        f"percentile, {signed_percent(found.signed)} signed",
        "extrapolated": "cards and sizes of which only this source has measurements",
        "sources": "measured by others; nothing here was measured by this project",
    }


def _claims(rows: Sequence[Row]) -> list[Block]:
    table = TableBlock(
        key="claim-values",
        caption="Published values beside predictions; each claim's source is named below. Where "
        "the question is whether something fits, there is no error; of a share saved, the error "
        "is that of what is left. Left out: the error with the shared constant fitted to the "
        "other rows.",
        header=("claim", "value", "published", "predicted", "error", "left out", "verdict"),
        rows=tuple(map(_cells, rows)),
        wide=True,
    )
    sources = [f"{claim}: {next(own).source}." for claim, own in groupby(rows, lambda r: r.claim)]
    return [
        Paragraph(Ref("claim-values"), " has every number."),
        table,
        Paragraph("Sources. " + " ".join(sources)),
    ]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.claim,
        f"{row.item} ({row.unit})",
        number(row.published),
        number(row.predicted),
        _error(row),
        DASH if row.left_out_error is None else signed_percent(row.left_out_error),
        ("agrees" if row.agrees else "disagrees") + _CONTEXT[row.context],
    )


def _error(row: Row) -> str:
    if row.relative_error is None:
        return "fits" if row.agrees else "does not fit"
    return signed_percent(row.relative_error)


def _reason(row: Row) -> Paragraph:
    return Paragraph(f"{row.claim}, {row.item}: {row.why or 'nothing says why'}.")
