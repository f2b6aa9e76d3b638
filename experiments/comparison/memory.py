"""Memory of real runs against the account: what `validate` measures beside its timings."""

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from analysis.validation.peak_memory import MemoryCheck, MemoryScores
from experiments.campaign.designs import memory_runs
from experiments.screen import headed, progress_bar, right
from zo2rt.measure.footprint import footprint_apart
from zo2rt.measure.runs import Running, RunSpec
from zo2sim.memory.runtime import account

_QUICK = 2  # processes of a quick look
_MB = 1e6


def arena_checks(running: Sequence[Running]) -> Iterator[MemoryCheck]:
    """The arenas of runs that share a process."""
    for one in running:
        yield checked(one.spec, arena_bytes=one.engine.device_bytes)


def process_checks(*, quick: bool) -> Iterator[MemoryCheck]:
    """Larger runs, one after the other, each in a process of its own."""
    specs = memory_runs()[: _QUICK if quick else None]
    with progress_bar() as bar:
        task = bar.add_task("measuring memory", total=len(specs))
        for spec in specs:
            found = footprint_apart(spec)
            yield checked(spec, arena_bytes=found.arena_bytes, grown_bytes=found.grown_bytes)
            bar.advance(task)


def memory_table(scores: MemoryScores) -> Table:
    """The runs whose process was measured."""
    title = "peak memory, each in a process of its own"
    figures = right("predicted", "measured", "error", "arena")
    table = headed("configuration", *figures, title=title, gap=1)
    for check in scores.measured:
        table.add_row(
            escape(check.name),
            f"{check.predicted_grown_bytes / _MB:.0f} MB",
            f"{(check.grown_bytes or 0) / _MB:.0f} MB",
            f"{check.rss_error:+.1%}",
            "exact" if check.arena_is_exact else "[red]differs[/]",
        )
    return table


def checked(spec: RunSpec, *, arena_bytes: int, grown_bytes: int | None = None) -> MemoryCheck:
    """What was measured, beside the account."""
    return MemoryCheck(
        name=spec.name,
        account=account(spec.model, spec.plan, spec.recipe),
        arena_bytes=arena_bytes,
        grown_bytes=grown_bytes,
    )
