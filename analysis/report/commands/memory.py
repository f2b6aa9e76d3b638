"""Measured memory in a report: every process beside the account of what it holds."""

from analysis.report.document import Paragraph, Ref, Section, TableBlock
from analysis.report.wording import counted, gib, percent, signed_percent
from analysis.validation.peak_memory import MOST_RSS_ERROR, MemoryCheck, MemoryScores


def memory_section(scores: MemoryScores) -> Section:
    """At least one process must have been measured."""
    errors = [abs(c.rss_error) for c in scores.measured if c.rss_error is not None]
    inexact = [check.name for check in scores.checks if not check.arena_is_exact]
    arenas = counted(len(scores.checks), "run")
    verdict = "that of the account to the byte" if not inexact else "another than the account's"
    words = (
        f"The runtime's own device buffers were compared in {arenas}: their size is {verdict}"
        f"{'' if not inexact else f' in {len(inexact)} of them ({inexact[0]} first)'}. ",
        Ref("memory"),
        " has runs that each had a process of their own; they grew by what is accounted within "
        f"{percent(max(errors))}, where {percent(MOST_RSS_ERROR)} is promised. Growth counts from "
        "before the model was made to the peak of its steps, and the C library gives back at once "
        "what is freed in large pieces.",
    )
    table = TableBlock(
        key="memory",
        caption="Memory of a process whose device is the host's memory, libraries apart.",
        header=("run", "accounted", "measured", "error", "arena"),
        rows=tuple(_row(check) for check in scores.measured),
        wide=True,
    )
    return Section("Peak memory", (Paragraph(*words), table))


def _row(check: MemoryCheck) -> tuple[str, ...]:
    return (
        check.name,
        gib(check.predicted_grown_bytes),
        gib(check.grown_bytes or 0),
        signed_percent(check.rss_error or 0.0),
        "exact" if check.arena_is_exact else "differs",
    )
