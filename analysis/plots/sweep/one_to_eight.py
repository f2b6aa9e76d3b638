# pyright: reportUnknownMemberType=false
"""What several cards of one computer make of a step: times one card's speed, by how they share."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots.style import (
    BLUE,
    FULL_IN,
    GREEN,
    GREY,
    VERMILLION,
    Series,
    new_figure,
    styled,
)
from analysis.plots.ticks import ticks_at
from analysis.table import Floats, Table, floats, has, of_question, sorted_by, unique, where

QUESTION, ALONE = "one_to_eight", "one card"
PLACEMENTS = {
    "ring": Series(title="ring: blocks are dealt", colour=BLUE, marker="o"),
    "whole": Series(title="whole: lanes are dealt", colour=VERMILLION, marker="s"),
    "sliced": Series(title="sliced: each uploads a part", colour=GREEN, marker="^"),
}
"""How each placement is drawn, and what it shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """A computer's step of so many microbatches, by the number of cards in one placement."""

    machine: str
    microbatches: int
    placement: str
    devices: tuple[int, ...]
    step_s: Floats
    alone_s: float

    @property
    def speedup(self) -> Floats:
        """Times as fast as one card, which reads as many tokens."""
        return self.alone_s / self.step_s

    def at(self, devices: int) -> float:
        """The speed-up of so many cards, or NaN where they were not asked about."""
        found = dict(zip(self.devices, self.speedup.tolist(), strict=True))
        return found.get(devices, float("nan"))


def answers_cards(table: Table) -> bool:
    """Whether steps on several cards were asked about, each beside the same step on one.

    An axis that renames or splits the preset's rows leaves a grid to which its words do not apply.
    """
    if not has(table, QUESTION):
        return False
    named = all(label in (ALONE, *PLACEMENTS) for label in unique(_rows(table), "label"))
    return named and all(len(_alone_s(step)) == 1 for _, _, step in _steps(_rows(table)))


def scalings(table: Table) -> tuple[Scaling, ...]:
    """Of question ``one_to_eight``, in the order of the table."""
    return tuple(
        Scaling(
            machine=machine,
            microbatches=microbatches,
            placement=placement,
            devices=tuple(int(count) for count in floats(shared, "devices")),
            step_s=floats(shared, "step_s"),
            alone_s=float(_alone_s(step)[0]),
        )
        for machine, microbatches, step in _steps(_rows(table))
        for placement in PLACEMENTS
        if len(shared := sorted_by(where(step, "label", placement), "devices"))
    )


def _rows(table: Table) -> Table:
    return of_question(table, QUESTION)


def _alone_s(step: Table) -> Floats:
    return floats(where(step, "label", ALONE), "step_s")


def _steps(rows: Table) -> Iterator[tuple[str, int, Table]]:
    """The rows of each computer and number of microbatches."""
    for machine in unique(rows, "machine"):
        own = where(rows, "machine", machine)
        for microbatches in sorted({int(count) for count in floats(own, "microbatches")}):
            yield machine, microbatches, where(own, "microbatches", microbatches)


@styled
def one_to_eight(table: Table) -> Figure:
    """A column of panels per computer, a row per number of microbatches; grey: cards times one."""
    found = scalings(table)
    machines = list(dict.fromkeys(one.machine for one in found))
    steps = list(dict.fromkeys(one.microbatches for one in found))
    figure = new_figure(FULL_IN, 0.6 + 1.45 * len(steps))
    panels = figure.subplots(len(steps), len(machines), sharex=True, sharey=True, squeeze=False)
    for row, microbatches in zip(panels, steps, strict=True):
        for axes, machine in zip(row, machines, strict=True):
            own = (s for s in found if (s.machine, s.microbatches) == (machine, microbatches))
            _panel(axes, tuple(own))
        row[0].set_ylabel(f"times one card\n{microbatches} microbatch{'es' * (microbatches > 1)}")
    for axes, machine in zip(panels[0], machines, strict=True):
        axes.set_title(machine)
    for axes in panels[-1]:
        axes.set_xlabel("cards")
    figure.legend(handles=_legend(), loc="outside upper center", ncols=4)
    return figure


def _panel(axes: Axes, found: tuple[Scaling, ...]) -> None:
    devices = sorted({count for one in found for count in one.devices})
    ideal = np.array([1, *devices])
    axes.plot(ideal, ideal, color=GREY, lw=0.7, ls=(0, (4, 2)))
    for one in found:
        look = PLACEMENTS[one.placement]
        x, y = [1, *one.devices], [1.0, *one.speedup]
        axes.plot(x, y, color=look.colour, marker=look.marker)
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks_at(axes.xaxis, ideal.tolist(), map(str, ideal.tolist()))
    ticks_at(axes.yaxis, (0.1, 0.5, 1, 2, 4, 8), ("0.1", "0.5", "1", "2", "4", "8"))
    axes.grid(visible=True, axis="y")


def _legend() -> list[Line2D]:
    drawn = [
        Line2D([], [], color=look.colour, marker=look.marker, label=look.title)
        for look in PLACEMENTS.values()
    ]
    return [*drawn, Line2D([], [], color=GREY, lw=0.7, ls=(0, (4, 2)), label="every card counts")]
