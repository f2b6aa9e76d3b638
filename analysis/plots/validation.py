# pyright: reportUnknownMemberType=false
"""Predicted against measured step times, with bands and the errors of the measurement."""

import numpy as np
from matplotlib.figure import Figure

from analysis.plots.style import BLUE, COLUMN_IN, GREY, VERMILLION, new_figure, styled
from analysis.plots.ticks import ticks_by_decade
from analysis.validation.scores import Scores


@styled
def validation(scores: Scores) -> Figure:
    """A dot per configuration: measured across, predicted up, 90 % band as a line.

    Red where the measurement lies outside the band. The lower panel shows the error itself.
    """
    figure = new_figure(COLUMN_IN, 1.35 * COLUMN_IN)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    measured = np.array([c.step_s for c in scores.comparisons]) * 1e3
    ends = float(measured.min()) * 0.8, float(measured.max()) * 1.25
    above.plot(ends, ends, color=GREY, lw=0.8, zorder=0)
    below.axhline(0.0, color=GREY, lw=0.8, zorder=0)
    for x, c in zip(measured, scores.comparisons, strict=True):
        colour = BLUE if c.covered else VERMILLION
        above.plot([x, x], [c.low_s * 1e3, c.high_s * 1e3], color=colour, lw=1.2, alpha=0.6)
        above.plot(x, c.predicted_s * 1e3, ".", ms=4, color=colour)
        reach = 196.0 * (c.standard_error if np.isfinite(c.standard_error) else 0.0)
        below.errorbar(x, 100 * c.error, reach, fmt=".", ms=4, lw=0.8, color=colour)
    above.set_xscale("log")
    above.set_yscale("log")
    above.set_xlim(*ends)
    above.set_ylim(*ends)
    for axis in (above.xaxis, above.yaxis):
        ticks_by_decade(axis)
    above.set_ylabel("predicted step (ms)")
    below.set_ylabel("error (%)")
    below.set_xlabel("measured step (ms)")
    return figure
