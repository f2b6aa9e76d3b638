# pyright: reportUnknownMemberType=false
"""What both-ways traffic costs, and how much of it a rarer write-back gives back."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots.style import COLUMN_IN, GREY, SHADES, Series, new_figure, styled
from analysis.plots.ticks import ticks_at
from analysis.table import Table, by_label, error_bars, floats, of_question, step_interval_s

_MARKERS = "DsvP^"


@styled
def both_ways(table: Table) -> Figure:
    """Step time against write-back interval, question ``both_ways``; one line per link.

    The thin line below each series is its lower bound.
    """
    rows = of_question(table, "both_ways")
    figure = new_figure(COLUMN_IN, 2.3)
    axes = figure.add_subplot()
    for number, (label, mine) in enumerate(by_label(rows, "write_back_every")):
        colour = SHADES[(1, 0, 2, 3)[number % len(SHADES)]]
        look = Series(title=label, colour=colour, marker=_MARKERS[number % len(_MARKERS)])
        _line(axes, look, mine)
    _k_axis(axes, sorted({int(k) for k in floats(rows, "write_back_every")}))
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel("step time (s)")
    axes.grid(visible=True, axis="y")
    drawn = axes.get_legend_handles_labels()[0]
    bound = Line2D([], [], color=GREY, lw=0.6, ls="--", label="lower bound")
    figure.legend(handles=[*drawn, bound], loc="outside upper center", ncols=2)
    return figure


def _line(axes: Axes, look: Series, rows: Table) -> None:
    k, step_s = floats(rows, "write_back_every"), floats(rows, "step_s")
    axes.plot(k, step_s, color=look.colour, marker=look.marker, label=look.title)
    axes.plot(k, floats(rows, "lower_bound_s"), color=look.colour, lw=0.6, ls="--")
    if (ends := step_interval_s(rows)) is not None:
        bars = error_bars(step_s, *ends)
        axes.errorbar(k, step_s, yerr=bars, fmt="none", ecolor=look.colour, elinewidth=0.8)


def _k_axis(axes: Axes, values: list[int]) -> None:
    axes.set_xscale("log")
    ticks_at(axes.xaxis, values, map(str, values))
    axes.set_xlabel("write-back every k steps")
