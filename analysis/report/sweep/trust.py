"""The section on how far the predictions of a sweep can be trusted, machine by machine."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from analysis.report.document import Block, Paragraph, Section
from analysis.report.trust import Grounds, trust_section
from analysis.report.wording import DASH, SPACE, between, counted, percent
from analysis.table import Table, floats, step_interval_s, texts, unique, where

_NAMED = 3
_EMPTY = ("", "nan", "None", "nothing")


def sweep_trust(table: Table) -> Section:
    """Bands, hold-out errors, extrapolation and sources, as far as the table has them."""
    machines = {name: where(table, "machine", name) for name in unique(table, "machine")}
    grounds = {name: _grounds(rows) for name, rows in machines.items()}
    return trust_section(grounds, *_bands(table))


def _grounds(rows: Table) -> Grounds:
    """What most predictions of a machine rest on."""
    return {
        "band": _widths(rows) or DASH,
        **{topic: _cell(rows, topic) for topic in ("band_holds", "band_lacks", "hold_out_error")},
        "extrapolated": _beyond(rows),
        "sources": _cell(rows, "sources"),
    }


def _widths(rows: Table) -> str:
    """How wide the bands of steps are; empty where there are none."""
    ends = step_interval_s(rows)
    if ends is None:
        return ""
    widths = (ends[1] - ends[0]) / floats(rows, "step_s")
    return f"{between(widths.tolist(), percent)} wide"


def _bands(table: Table) -> Iterator[Block]:
    widths = _widths(table)
    if widths:
        yield Paragraph(
            f"Every step time and throughput has a 90{SPACE}% band: the constants of the machine "
            "whose uncertainty is known are drawn 200 times from it, together with how far "
            "measurements scatter around what is predicted. Bands of the step are "
            f"{widths}. A band says nothing about constants of which no interval is known: where "
            "one of them binds, the band is narrow and the error is not.",
        )


def _beyond(rows: Table) -> str:
    """How many predictions rest on sizes or kernels that nobody measured on the machine."""
    if "extrapolated" not in rows.columns:
        return DASH
    found = [text for text in texts(rows, "extrapolated") if text not in _EMPTY]
    return f"{len(found)} of {counted(len(rows), 'prediction')}, in part or in full"


def _cell(rows: Table, column: str) -> str:
    """What most rows say; of the constants that they name, the first few of all."""
    said = texts(rows, column) if column in rows.columns else []
    known = [text for text in said if text not in _EMPTY]
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
