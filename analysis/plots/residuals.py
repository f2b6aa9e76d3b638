# pyright: reportUnknownMemberType=false
"""Residuals of a calibration: how far each measurement is from the fitted law, by group."""

import numpy as np
from matplotlib.figure import Figure

from analysis.fits.law import Fit
from analysis.plots.style import BLACK, BLUE, FULL_IN, GREY, new_figure, styled


@styled
def residuals(fit: Fit) -> Figure:
    """A row per group: every measurement as a dot, the middle half as a bar; in percent."""
    groups = [g for g in fit.log_sigmas if any(row.group == g for row in fit.rows)]
    figure = new_figure(FULL_IN, 0.7 + 0.19 * len(groups))
    axes = figure.subplots()
    jitter = np.random.default_rng(0)
    for number, group in enumerate(groups):
        mine = [row.group == group for row in fit.rows]
        percent = 100.0 * np.expm1(fit.residuals[mine])
        height = number + jitter.uniform(-0.25, 0.25, len(percent))
        axes.plot(percent, height, ".", ms=4, color=BLUE, alpha=0.55, mew=0)
        low, middle, high = np.quantile(percent, [0.25, 0.5, 0.75])
        axes.plot([low, high], [number, number], color=BLACK, lw=1.6, solid_capstyle="butt")
        axes.plot([middle], [number], "|", color=BLACK, ms=7)
    axes.axvline(0.0, color=GREY, lw=0.8, zorder=0)
    axes.set_yticks(range(len(groups)), groups)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xscale("symlog", linthresh=10.0)
    axes.set_xticks([-50, -10, -5, 0, 5, 10, 50], ["-50", "-10", "-5", "0", "5", "10", "50"])
    axes.set_xlabel("measured above fitted (%)")
    return figure
