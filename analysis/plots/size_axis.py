# pyright: reportUnknownMemberType=false
"""The axis that memory and throughput share: model size, logarithmic."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from analysis.plots.ticks import plain, ticks_at
from analysis.table import Floats, Table, floats

_MAX_TICKS = 8


def billions(rows: Table) -> Floats:
    """Parameters of each row's model, in billions."""
    return floats(rows, "model_elements") / 1e9


def draw(axes: Axes, rows: Table) -> None:
    """Logarithmic, with a tick at each model where there are few."""
    axes.set_xscale("log")
    axes.set_xlabel("model size (billion parameters)")
    sizes = np.unique(billions(rows))
    if len(sizes) <= _MAX_TICKS:
        ticks_at(axes.xaxis, sizes.tolist(), map(_short, sizes))


def plain_log(axes: Axes) -> None:
    """A logarithmic y axis with 1, 10, 100 instead of powers of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.grid(visible=True, axis="y")


def _short(size: float) -> str:
    return f"{size:.0f}" if size >= 10 else f"{size:.1f}"
