"""A validation on the screen: every configuration, the worst operations, and the figures."""

import math
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.validation.op_errors import OpError
from analysis.validation.peak_memory import MemoryScores
from analysis.validation.promise import Promise, promises
from analysis.validation.scores import TITLES, Scores
from experiments.comparison.compared import Validated, beyond, complaints, errors_of, scores_of
from experiments.comparison.memory import memory_table
from experiments.screen import headed, right

_WORST = 6  # operations that are named


def show(found: Sequence[Validated], memory: MemoryScores, console: Console) -> None:
    """Everything that fits 80 columns."""
    scores = scores_of(found)
    console.print(_errors_table(scores))
    console.print(_operations_table(errors_of(found)))
    console.print(_figures(scores))
    if memory.measured:
        console.print(memory_table(memory))
    for text, count in beyond(found).items():
        console.print(f"extrapolated in {count}: {escape(text)}", highlight=False)
    if scores.drift_notice is not None:
        console.print(f"[yellow]{escape(scores.drift_notice)}[/]", highlight=False)
    for complaint in complaints(found, memory):
        console.print(f"[yellow]{escape(complaint)}[/]", highlight=False)


def _errors_table(scores: Scores) -> Table:
    figures = right("predicted", "measured", "error", "band", "rules", "repeat")
    table = headed("configuration", *figures, gap=1)
    for c in scores.comparisons:
        table.add_row(
            escape(c.name),
            f"{c.predicted_s * 1e3:.1f} ms",
            f"{c.step_s * 1e3:.1f} ms",
            f"{c.error:+z.1%}",
            "in" if c.covered else "[red]out[/]",
            f"{c.rules_error:+z.1%}",
            _known(c.standard_error),
        )
    return table


def _known(share: float) -> str:
    """A single turn says nothing of how far others would be from it."""
    return "-" if math.isnan(share) else f"{share:.1%}"


def _operations_table(errors: Sequence[OpError]) -> Table:
    """Which operations the worst errors come from."""
    title = "operations that add most error"
    figures = right("predicted", "measured", "per step", "mostly")
    table = headed("operation", *figures, title=title, gap=1)
    for error in sorted(errors, key=lambda e: -abs(e.effect_s))[:_WORST]:
        table.add_row(
            f"{error.op}, {escape(error.configuration)}",
            f"{error.predicted_s * 1e3:.2f} ms",
            f"{error.measured_s * 1e3:.2f} ms",
            f"{error.effect_s * 1e3:+.1f} ms",
            error.constant.partition(".")[2],
        )
    return table


def _figures(scores: Scores) -> Table:
    """Every figure beside what is promised."""
    table = headed("figure", *right("found", "promised"), "", title="over all", gap=1)
    for row in _rows(scores):
        table.add_row(*row)
    return table


def _rows(scores: Scores) -> Iterator[tuple[str, ...]]:
    promised = {promise.name: promise for promise in promises(scores)}
    for name, value in scores.as_dict().items():
        shown = "-" if value is None else str(value) if name == "n" else f"{value:.2%}"
        promise = promised.get(name)
        yield TITLES[name], shown, *(("", "") if promise is None else _verdict(promise))


def _verdict(promise: Promise) -> tuple[str, str]:
    limit = f"<= {promise.most:.2%}"
    if promise.least > 0.0:
        limit = f"{promise.least:.0%} to {promise.most:.0%}"
    return limit, "[green]kept[/]" if promise.kept else "[red]not kept[/]"
