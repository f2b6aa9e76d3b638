# pyright: reportUnknownMemberType=false
"""Slots in use over time."""

import numpy as np
from matplotlib.figure import Figure

from analysis.plots.rows import GIB
from analysis.style import BLUE, COLUMN_IN, VERMILLION, new_figure, styled
from zo2sim.occupancy import slots_in_use
from zo2sim.trace import Trace, Window


@styled
def slot_occupancy(
    trace: Trace, *, slot_bytes: int | None = None, window: Window | None = None
) -> Figure:
    """Device memory that streamed blocks hold: GiB where a slot's size is given, else slots.

    Shows ``window``, or the whole trace.
    """
    shown = window or Window(0.0, trace.makespan_s)
    changes = np.array([*slots_in_use(trace), (trace.makespan_s, 0)])
    unit = 1.0 if slot_bytes is None else slot_bytes / GIB
    figure = new_figure(COLUMN_IN, 1.6)
    axes = figure.add_subplot()
    axes.fill_between(changes[:, 0], changes[:, 1] * unit, step="post", color=BLUE, lw=0)
    for loss_s in trace.losses_s:
        axes.axvline(loss_s, color=VERMILLION, lw=0.8, ls="--")
    axes.set_xlim(shown.start_s, shown.end_s if shown.length_s > 0 else shown.start_s + 1.0)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("time (s); dashed: a step's loss")
    axes.set_ylabel("slots in use" if slot_bytes is None else "slots in use (GiB)")
    return figure
