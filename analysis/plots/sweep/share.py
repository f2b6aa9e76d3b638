# pyright: reportUnknownMemberType=false
"""When offloading is hidden: throughput as a share of the resident model's, machine by machine."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots.style import BLUE, FULL_IN, GREY, SHADES, SKY, new_figure, styled
from analysis.plots.ticks import ticks_at
from analysis.table import (
    Floats,
    Table,
    flags,
    floats,
    has,
    of_question,
    sorted_by,
    texts,
    unique,
    where,
)

PCIE = "link.pcie"
_COLOURS = {3: SKY, 4: BLUE, 5: SHADES[0]}
_MARKERS = {3: "v", 4: "D", 5: "^"}
_COLUMNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Throughput over that of the resident model, by tokens per step, ascending."""

    machine: str
    pcie: int
    tokens: Floats
    share: Floats
    fits: tuple[bool, ...]

    def hidden_from(self, least: float) -> float:
        """Fewest tokens per step, of those that fit, with at least that share; NaN where none."""
        points = zip(self.tokens, self.share, self.fits, strict=True)
        return min((t for t, share, fits in points if fits and share >= least), default=math.nan)


def plain_plan(rows: Table) -> Table:
    """Rows of the plainest plan: fp16, page-locked RAM, written back in every step."""
    for column, value in (
        *(("label", "fp16"), ("tier", "ram"), ("pinning", "exact")),
        ("write_back_every", 1),
    ):
        rows = where(rows, column, value)
    return rows


def answers_budget(table: Table) -> bool:
    """Whether the plainest plan was asked about on every machine and link, and without offloading.

    An axis that renames or splits the preset's rows leaves a grid to which its words do not apply.
    """
    if not (has(table, "budget") and has(table, "budget_resident")):
        return False
    rows, base = of_question(table, "budget"), of_question(table, "budget_resident")
    plain = where(plain_plan(rows), "microbatches", 1)
    pairs = list(zip(texts(plain, "machine"), floats(plain, PCIE).tolist(), strict=True))
    wanted = {*product(unique(rows, "machine"), set(floats(rows, PCIE).tolist()))}
    alone = texts(where(where(base, "label", "resident"), "microbatches", 1), "machine")
    return {*pairs} == wanted and len(pairs) == len(wanted) and {*alone} == {m for m, _ in wanted}


def shares(table: Table, *, against: str = "resident") -> tuple[Share, ...]:
    """Of questions ``budget`` and ``budget_resident``: plainest plan, every machine and link."""
    return tuple(_shares(table, against))


def _shares(table: Table, against: str) -> Iterator[Share]:
    rows = plain_plan(of_question(table, "budget"))
    base = where(of_question(table, "budget_resident"), "label", against)
    for machine in unique(rows, "machine"):
        mine = where(base, "machine", machine)
        tokens, speed = floats(mine, "tokens_per_step"), floats(mine, "tokens_per_s")
        resident = dict(zip(tokens, speed, strict=True))
        for pcie in sorted(set(floats(where(rows, "machine", machine), PCIE))):
            own = where(where(rows, "machine", machine), PCIE, pcie)
            yield _share(machine, int(pcie), sorted_by(own, "tokens_per_step"), resident)


def _share(machine: str, pcie: int, own: Table, resident: dict[float, float]) -> Share:
    tokens = floats(own, "tokens_per_step")
    base = np.array([resident.get(t, np.nan) for t in tokens])
    return Share(
        machine=machine,
        pcie=pcie,
        tokens=tokens,
        share=floats(own, "tokens_per_s") / base,
        fits=tuple(flags(own, "fits_device").tolist()),
    )


@styled
def throughput_share(table: Table) -> Figure:
    """One panel per machine, one line per generation of PCIe; hollow where it does not fit."""
    found = shares(table)
    machines = list(dict.fromkeys(one.machine for one in found))
    rows = -(-len(machines) // _COLUMNS)
    figure = new_figure(FULL_IN, 0.75 + 1.25 * rows)
    panels = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    for axes, machine in zip(panels.flat, machines, strict=False):
        axes.set_title(machine)
        axes.axhline(1.0, color=GREY, lw=0.6)
        for one in found:
            if one.machine == machine:
                _line(axes, one)
    for number, axes in enumerate(panels.flat):
        axes.set_visible(number < len(machines))
        axes.tick_params(labelbottom=number >= len(machines) - _COLUMNS)
    _tokens_axis(panels.flat[0], found)
    panels.flat[0].set_ylim(0.0, 1.06)
    figure.supxlabel("tokens per step", fontsize=8)
    figure.supylabel("throughput relative to the resident model", fontsize=8)
    figure.legend(handles=_legend(found), loc="outside upper center", ncols=4)
    return figure


def _line(axes: Axes, one: Share) -> None:
    colour, marker = _COLOURS.get(one.pcie, GREY), _MARKERS.get(one.pcie, ".")
    axes.plot(one.tokens, one.share, color=colour)
    for fits, face in ((True, colour), (False, "white")):
        chosen = np.array(one.fits) == fits
        axes.plot(
            one.tokens[chosen], one.share[chosen], ls="none", marker=marker, mfc=face, mec=colour
        )
    axes.grid(visible=True, axis="y")


def _tokens_axis(axes: Axes, found: tuple[Share, ...]) -> None:
    ticks = sorted({float(t) for one in found for t in one.tokens})
    axes.set_xscale("log")
    ticks_at(axes.xaxis, ticks, (f"{t / 1024:g}k" for t in ticks))


def _legend(found: tuple[Share, ...]) -> list[Line2D]:
    lines = [
        Line2D([], [], color=_COLOURS.get(g, GREY), marker=_MARKERS.get(g, "."), label=f"PCIe {g}")
        for g in sorted({one.pcie for one in found})
    ]
    hollow = Line2D(
        [], [], ls="none", marker="D", mfc="white", mec=GREY, label="does not fit the budget"
    )
    return [*lines, hollow] if not all(all(one.fits) for one in found) else lines
