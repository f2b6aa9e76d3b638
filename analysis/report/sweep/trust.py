"""The section on how far the predictions of a sweep can be trusted, machine by machine."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from analysis.report.document import Block, Paragraph, Ref, Section, TableBlock
from analysis.report.wording import DASH, SPACE, between, counted, percent
from analysis.table import Table, floats, step_interval_s, texts, unique, where

_NAMED = 3
_EMPTY = ("", "nan", "None", "nothing")
_HEADINGS = {
    "band_holds": "the band holds",
    "band_lacks": "no interval is known of",
    "hold_out_error": "hold-out error",
}


def trust_section(table: Table) -> Section | None:
    """Bands, hold-out errors and extrapolation; None where the table says nothing of them."""
    headings = [name for name in _HEADINGS if name in table.columns]
    if not headings:
        return None
    words = [*_bands(table), *_hold_out(table)]
    rows = tuple(
        (machine, *(_cell(where(table, "machine", machine), name) for name in headings))
        for machine in unique(table, "machine")
    )
    block = TableBlock(
        key="trust",
        caption="How far to trust the predictions for each machine. Of constants, those that most "
        "predictions rest on come first.",
        header=("machine", *(_HEADINGS[name] for name in headings)),
        rows=rows,
        wide=True,
    )
    return Section("How far to trust it", (*words, block))


def _bands(table: Table) -> Iterator[Block]:
    ends = step_interval_s(table)
    if ends is None:
        return
    widths = (ends[1] - ends[0]) / floats(table, "step_s")
    yield Paragraph(
        f"Every step time and throughput has a 90{SPACE}% band: the constants of the machine "
        "whose uncertainty is known are drawn 200 times from it, together with how far "
        "measurements scatter around what is predicted. Bands of the step are "
        f"{between(widths.tolist(), percent)} wide. A band says nothing about constants of "
        "which no interval is known: where one of them binds, the band is narrow and the error "
        "is not.",
    )


def _hold_out(table: Table) -> Iterator[Block]:
    yield Paragraph(
        Ref("trust"),
        " says what is behind the numbers of each machine, and how far off its constants were "
        f"on real runs that they predicted before. {_beyond(table)}",
    )


def _beyond(table: Table) -> str:
    """How many predictions rest on sizes or kernels that nobody measured on the machine."""
    if "extrapolated" not in table.columns:
        return ""
    found = [text for text in texts(table, "extrapolated") if text not in _EMPTY]
    share = f"{len(found)} of {counted(len(table), 'prediction')}"
    return f"Beyond what was measured or calibrated, in part or in full: {share}."


def _cell(rows: Table, column: str) -> str:
    """What most rows say; of the constants that they name, the first few of all."""
    known = [text for text in texts(rows, column) if text not in _EMPTY]
    if not known:
        return DASH
    if column != "band_lacks":
        return Counter(known).most_common(1)[0][0]
    merit: defaultdict[str, float] = defaultdict(float)
    for text in known:
        for place, name in enumerate(text.split(", "), start=1):
            merit[name] += 1.0 / place
    names = sorted(merit, key=lambda name: -merit[name])
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
