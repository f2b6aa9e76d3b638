# pyright: reportUnknownMemberType=false
"""Device memory: against model size beside published figures, and item by item."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import size_axis
from analysis.plots.style import (
    BLACK,
    BLUE,
    COLUMN_IN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    new_figure,
    series,
    styled,
)
from analysis.plots.sweep.published import Comparison, compared
from analysis.table import (
    GIB,
    Floats,
    Table,
    by_label,
    device_gib,
    floats,
    of_question,
    unique,
    where,
)

CARDS_GIB: Mapping[str, float] = {"18 GB": 18.0, "24 GB": 24.0}
"""Lines to stay below; cards are sold in GB and hold GiB, and so count ZO2's scripts."""

_COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE, YELLOW, BLACK, GREY)
_SMALL = 0.005  # items below this share of the largest bar are summed up


@styled
def memory_against_size(table: Table, published: Table) -> Figure:
    """Predicted device memory as lines, published figures as open markers.

    Takes rows of question ``memory``, and `analysis.plots.sweep.published.compared`'s
    ``published``. The dotted line is what PyTorch allocated, where that was predicted.
    """
    rows = of_question(table, "memory")
    figure = new_figure(COLUMN_IN, 2.9)
    axes = figure.add_subplot()
    for label, mine in by_label(rows, "model_elements"):
        _line(axes, label, mine)
    _published(axes, compared(table, published))
    _cards(axes)
    size_axis.draw(axes, rows)
    size_axis.plain_log(axes)
    axes.set_ylabel("device memory (GiB)")
    figure.legend(handles=_legend(axes), loc="outside upper center", ncols=2)
    return figure


def _line(axes: Axes, label: str, rows: Table) -> None:
    look, x = series(label), size_axis.billions(rows)
    axes.plot(x, device_gib(rows), color=look.colour, ls=look.line, label=look.title)
    allocated = floats(rows, "device_allocated_bytes") / GIB
    if not np.isnan(allocated).all():
        axes.plot(x, allocated, color=look.colour, ls=":", lw=0.9)


def _published(axes: Axes, claims: tuple[Comparison, ...]) -> None:
    for claim in claims:
        look = series(claim.label)
        axes.plot(
            [claim.billions],
            [claim.published_gib],
            ls="none",
            marker="v" if claim.is_allocated else look.marker,
            mfc="white",
            mec=look.colour,
            zorder=3,
        )


def _cards(axes: Axes) -> None:
    for number, (name, gib) in enumerate(CARDS_GIB.items()):
        above = number == len(CARDS_GIB) - 1
        axes.axhline(gib, color=GREY, lw=0.7, ls=(0, (4, 2)), zorder=1)
        axes.annotate(
            name,
            (1.0, gib),
            xycoords=axes.get_yaxis_transform(which="grid"),
            xytext=(2, 0),
            textcoords="offset points",
            va="bottom" if above else "top",
            fontsize=6.5,
            color="#555555",
        )


def _legend(axes: Axes) -> list[Line2D]:
    drawn = axes.get_legend_handles_labels()[0]
    lines = [line for line in drawn if isinstance(line, Line2D)]
    marks = {"published, device": "s", "published, allocated": "v"}
    shown = [line.get_marker() for line in axes.get_lines()]
    for title, marker in marks.items():
        if marker == "s" or "v" in shown:
            lines.append(
                Line2D([], [], ls="none", marker=marker, mfc="white", mec=GREY, label=title)
            )
    if "v" in shown:
        lines.append(Line2D([], [], color=GREY, ls=":", lw=0.9, label="allocated"))
    return lines


@styled
def memory_breakdown(items: Table, *, limit_gib: float | None = None) -> Figure:
    """Stacked bars of itemised device memory, one bar per plan; dashed: a limit.

    ``items`` is long: label (the bar), item and bytes; bars and items keep the table's order.
    Items that are nowhere larger than 0.5 % of the largest bar are summed up as "other".
    """
    labels, stacks = unique(items, "label"), _stacks(items)
    figure = new_figure(COLUMN_IN, 1.1 + 0.27 * len(labels))
    axes = figure.add_subplot()
    left = np.zeros(len(labels))
    for number, (item, gib) in enumerate(stacks.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        hatch = "////" if number >= len(_COLOURS) else None
        places = range(len(labels))
        axes.barh(places, gib, 0.65, left, color=colour, hatch=hatch, label=item)
        left = left + gib
    axes.set_yticks(range(len(labels)), [series(label).title for label in labels])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("device memory (GiB)")
    axes.grid(visible=True, axis="x")
    if limit_gib is not None:
        axes.axvline(limit_gib, color=BLACK, lw=0.8, ls=(0, (4, 2)))
    figure.legend(loc="outside upper center", ncols=2, handlelength=1.0)
    return figure


def _stacks(items: Table) -> dict[str, Floats]:
    """GiB of every bar, by item; small items are one."""
    bars = [where(items, "label", label) for label in unique(items, "label")]
    stacks = {
        item: np.array([floats(where(bar, "item", item), "bytes").sum() / GIB for bar in bars])
        for item in unique(items, "item")
    }
    total = np.sum(list(stacks.values()), axis=0)
    small = [item for item, gib in stacks.items() if gib.max() < _SMALL * total.max()]
    if len(small) < 2:
        return stacks
    other = np.sum([stacks.pop(item) for item in small], axis=0)
    return {**stacks, "other": other}
