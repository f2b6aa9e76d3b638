# pyright: reportUnknownMemberType=false
"""What buys what: speed against device memory, with host memory as the shade."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.plots.style import BLUE, COLUMN_IN, GREY, VERMILLION, new_figure, styled
from analysis.table import GIB
from zo2sim.search.search import Found


@styled
def front(points: Sequence[Found], best: Found | None = None) -> Figure:
    """One mark per plan that nothing beats; hollow where its speed is only a bound.

    The step line is the speed that so much device memory buys, host memory aside. ``best`` is
    marked where it is given.
    """
    figure = new_figure(COLUMN_IN, 2.6)
    axes = figure.add_subplot()
    device = np.array([point.device_bytes / GIB for point in points])
    speed = np.array([point.tokens_per_s for point in points])
    host = np.array([point.host_bytes / GIB for point in points])
    known = np.array([point.simulated for point in points])
    order = np.lexsort((-speed, device))
    reached = np.maximum.accumulate(speed[order])
    axes.step(device[order], reached, where="post", color=BLUE, lw=0.8, label="what memory buys")
    drawn = axes.scatter(device[known], speed[known], c=host[known], cmap="cividis", s=18, zorder=3)
    if not known.all():
        hollow = axes.scatter(device[~known], speed[~known], label="at most so fast", s=18)
        hollow.set(facecolors="white", edgecolors=GREY, zorder=3)
    if best is not None:
        place = best.device_bytes / GIB, best.tokens_per_s
        axes.plot(*place, ls="none", marker="*", ms=9, color=VERMILLION, label="the best plan")
    figure.colorbar(drawn, ax=axes, label="host memory (GiB)", pad=0.02, aspect=25)
    axes.set_xlabel("device memory (GiB)")
    axes.set_ylabel("tokens per second")
    axes.set_ylim(bottom=0.0)
    axes.grid(visible=True)
    figure.legend(loc="outside upper center", ncols=3)
    return figure
