# pyright: reportUnknownMemberType=false
"""Slots in use over time."""

import numpy as np
from matplotlib.figure import Figure

from analysis.plots.style import BLUE, COLUMN_IN, VERMILLION, new_figure, styled
from analysis.table import GIB
from zo2sim.simulate.occupancy import slots_in_use
from zo2sim.simulate.trace import Trace, Window


@styled
def slot_occupancy(
    trace: Trace, *, slot_bytes: int | None = None, window: Window | None = None
) -> Figure:
    """Device memory that streamed blocks hold: GiB where a slot's size is given, else slots.

    Shows ``window``, whose start is time 0, or the whole trace.
    """
    shown = window or Window(0.0, trace.makespan_s)
    changes = np.array([*slots_in_use(trace), (trace.makespan_s, 0)])
    unit = 1.0 if slot_bytes is None else slot_bytes / GIB
    times_s = changes[:, 0] - shown.start_s
    figure = new_figure(COLUMN_IN, 1.6)
    axes = figure.add_subplot()
    axes.fill_between(times_s, changes[:, 1] * unit, step="post", color=BLUE, lw=0)
    losses_s = [loss_s for loss_s in trace.losses_s if shown.start_s <= loss_s <= shown.end_s]
    for loss_s in losses_s:
        axes.axvline(loss_s - shown.start_s, color=VERMILLION, lw=0.8, ls="--")
    axes.set_xlim(0.0, shown.length_s if shown.length_s > 0 else 1.0)
    axes.set_ylim(0.0, 1.08 * unit * max(1.0, changes[:, 1].max()))
    axes.set_xlabel("time (s)" + ("; dashed: a step's loss" if losses_s else ""))
    axes.set_ylabel("slots in use" if slot_bytes is None else "slots in use (GiB)")
    return figure
