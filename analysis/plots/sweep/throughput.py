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
    unique,
    where,
)

CODE, PUBLISHED = "zo2_reference", "ZO2, published"
"""The series whose ratio to MeZO was published, and what that is called."""


@styled
def throughput_against_size(table: Table) -> Figure:
    """One line per series of question ``throughput``.

    A hollow marker is a configuration that does not fit the device; the thin line above each
    series is what its busiest resource would allow. Where the table has MeZO, a second panel shows
    the others as multiples of it with as many microbatches, and open squares what ZO2 published.
    """
    rows = of_question(table, "throughput")
    base = mezo(rows)
    figure = new_figure(COLUMN_IN, 2.9 if base.empty else 3.4)
    panels = figure.subplots(1 if base.empty else 2, 1, squeeze=False)[:, 0]
    for label, mine in by_label(rows, "model_elements"):
        _series(panels[0], label, mine)
        if not base.empty and label not in unique(base, "label")[1:]:  # 1 as the first one
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
        _published(panels[1], rows)
    figure.legend(handles=_legend(figure.axes), loc="outside upper center", ncols=2)
    return figure


def mezo(rows: Table) -> Table:
    """MeZO's rows, with any number of microbatches."""
    return where(rows, "label", *(s for s in unique(rows, "label") if s.split(" ")[0] == "MeZO"))


def speedups(rows: Table, base: Table) -> Floats:
    """Throughput of each row over that of ``base`` for the same model and as many microbatches.

    NaN where it has none.
    """
    reference = dict(zip(_steps(base), floats(base, "tokens_per_s").tolist(), strict=True))
    own = [reference.get(step, np.nan) for step in _steps(rows)]
    return floats(rows, "tokens_per_s") / np.array(own)


def _steps(rows: Table) -> list[tuple[str, str]]:
    return list(zip(texts(rows, "model"), texts(rows, "microbatches"), strict=True))


def _published(axes: Axes, rows: Table) -> None:
    """What ZO2 says of its code in fp16: about as fast as MeZO, whatever the size."""
    own = where(rows, "label", CODE)
    if len(own):
        x, look = size_axis.billions(own), series(CODE)
        (marks,) = axes.plot(x, np.ones(len(own)), ls="none", label=PUBLISHED, zorder=2)
        marks.set(marker=look.marker, mec=look.colour, mfc="white", ms=5.5)


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


def _legend(panels: list[Axes]) -> list[Line2D]:
    drawn = {
        t: h for axes in panels for h, t in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    lines = [line for line in drawn.values() if isinstance(line, Line2D)]
    hollow = Line2D([], [], ls="none", marker="o", mfc="white", mec=GREY, label="does not fit")
    return [*lines, Line2D([], [], color=GREY, lw=0.5, label="lower bound"), hollow]
