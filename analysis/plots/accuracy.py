# pyright: reportUnknownMemberType=false
"""What narrow formats cost in accuracy: every run before and after, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from analysis.plots.style import BLUE, COLUMN_IN, GREY, ORANGE, new_figure, styled


@dataclass(frozen=True, slots=True)
class Judged:
    """A run's accuracies: of a base in one format, with its classes' prototypes, and trained."""

    dtype: str
    seed: int
    before: float
    after: float


@styled
def accuracies(judged: Sequence[Judged], *, chance: float) -> Figure:
    """A mark per run, a column per format; open ones are of the base before training."""
    formats = list(dict.fromkeys(one.dtype for one in judged))
    seeds = max(one.seed for one in judged) + 1
    figure = new_figure(COLUMN_IN, 2.2)
    axes = figure.add_subplot()
    for column, dtype in enumerate(formats):
        own = [one for one in judged if one.dtype == dtype]
        at = [column + 0.5 * (one.seed + 0.5) / seeds - 0.25 for one in own]
        marks: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 4.0}
        before, after = [one.before for one in own], [one.after for one in own]
        axes.plot(at, before, mfc="none", mec=GREY, label=_once("before", column), **marks)
        axes.plot(at, after, color=BLUE, label=_once("after", column), **marks)
        ends, mean = [column - 0.3, column + 0.3], 2 * [sum(after) / len(after)]
        axes.plot(ends, mean, color=ORANGE, lw=1.0, label=_once("mean after", column))
    axes.axhline(chance, color=GREY, lw=0.8, ls=":", label="chance")
    axes.set_xticks(range(len(formats)), formats)
    axes.set_ylim(0.0, 1.0)
    axes.set_ylabel("held-out accuracy")
    figure.legend(loc="outside upper center", ncols=4)
    return figure


def _once(name: str, column: int) -> str | None:
    """The legend's name of what every column shows."""
    return None if column else name
