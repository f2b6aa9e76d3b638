# pyright: reportUnknownMemberType=false
"""Tokens per second against model size, beside the lower bound on the step time."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import size_axis
from analysis.plots.style import COLUMN_IN, GREY, new_figure, series, styled
from analysis.table import (
    Floats,
    Table,
    by_label,
    error_bars,
    flags,
    floats,
    of_question,
    step_interval_s,
    texts,
    where,
)


@styled
def throughput_against_size(table: Table) -> Figure:
    """One line per series of question ``throughput``.

    A hollow marker is a configuration that does not fit the device; the thin line above each
    series is what its busiest resource would allow. Where the table has MeZO, a second panel shows
    the others as multiples of it.
    """
    rows = of_question(table, "throughput")
    base = where(rows, "label", "MeZO")
    figure = new_figure(COLUMN_IN, 2.9 if base.empty else 3.4)
    panels = figure.subplots(1 if base.empty else 2, 1, squeeze=False)[:, 0]
    for label, mine in by_label(rows, "model_elements"):
        _series(panels[0], label, mine)
        if not base.empty:
            _marked(panels[1], label, mine, speedups(mine, base))
    for axes in panels:
        size_axis.draw(axes, rows)
    panels[0].set_ylabel("throughput (tokens/s)")
    size_axis.plain_log(panels[0])
    if not base.empty:
        panels[0].set_xlabel("")
        panels[1].set_ylabel("multiple of MeZO")
        panels[1].set_ylim(bottom=0.0)
        panels[1].grid(visible=True, axis="y")
    figure.legend(handles=_legend(panels[0]), loc="outside upper center", ncols=2)
    return figure


def speedups(rows: Table, base: Table) -> Floats:
    """Throughput of each row over that of ``base`` for the same model, NaN where it has none."""
    reference = dict(zip(texts(base, "model"), floats(base, "tokens_per_s"), strict=True))
    own = [float(reference.get(model, np.nan)) for model in texts(rows, "model")]
    return floats(rows, "tokens_per_s") / np.array(own)


def _series(axes: Axes, label: str, rows: Table) -> None:
    tokens = floats(rows, "tokens_per_step")
    y, bound = floats(rows, "tokens_per_s"), tokens / floats(rows, "lower_bound_s")
    axes.plot(size_axis.billions(rows), bound, color=series(label).colour, lw=0.5, alpha=0.8)
    _marked(axes, label, rows, y)
    if (ends := step_interval_s(rows)) is not None:
        bars = error_bars(y, tokens / ends[1], tokens / ends[0])
        x, colour = size_axis.billions(rows), series(label).colour
        axes.errorbar(x, y, yerr=bars, fmt="none", ecolor=colour, elinewidth=0.8, capsize=1.5)


def _marked(axes: Axes, label: str, rows: Table, y: Floats) -> None:
    """The line, with hollow markers where the configuration does not fit."""
    look, x = series(label), size_axis.billions(rows)
    colour, marker, unfit = look.colour, look.marker, ~flags(rows, "fits")
    axes.plot(x, y, color=colour, ls=look.line, marker=marker, label=look.title)
    axes.plot(x[unfit], y[unfit], ls="none", marker=marker, mec=colour, mfc="white", zorder=3)


def _legend(axes: Axes) -> list[Line2D]:
    drawn = axes.get_legend_handles_labels()[0]
    lines = [line for line in drawn if isinstance(line, Line2D)]
    hollow = Line2D([], [], ls="none", marker="o", mfc="white", mec=GREY, label="does not fit")
    return [*lines, Line2D([], [], color=GREY, lw=0.5, label="lower bound"), hollow]
