# pyright: reportUnknownMemberType=false
"""What buys what: speed against device memory, with host memory as the shade."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.plots.style import COLUMN_IN, GREY, new_figure, styled
from analysis.table import GIB
from zo2sim.search.search import Found


@styled
def front(points: Sequence[Found]) -> Figure:
    """One mark per plan that nothing beats; hollow where its speed is only a bound."""
    figure = new_figure(COLUMN_IN, 2.4)
    axes = figure.add_subplot()
    device = np.array([point.device_bytes / GIB for point in points])
    speed = np.array([point.tokens_per_s for point in points])
    host = np.array([point.host_bytes / GIB for point in points])
    known = np.array([point.simulated for point in points])
    drawn = axes.scatter(device[known], speed[known], c=host[known], cmap="cividis", s=18)
    axes.scatter(device[~known], speed[~known], facecolors="none", edgecolors=GREY, s=18)
    figure.colorbar(drawn, ax=axes, label="host memory (GiB)", pad=0.02, aspect=25)
    axes.set_xlabel("device memory (GiB)")
    axes.set_ylabel("tokens per second")
    axes.set_ylim(bottom=0.0)
    axes.grid(visible=True)
    return figure
