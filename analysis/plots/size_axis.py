# pyright: reportUnknownMemberType=false
"""The axis that memory and throughput share: model size, logarithmic."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullLocator

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
        axes.xaxis.set_major_locator(FixedLocator(sizes.tolist()))
        axes.xaxis.set_major_formatter(FixedFormatter([_short(size) for size in sizes]))
        axes.xaxis.set_minor_locator(NullLocator())


def plain_log(axes: Axes) -> None:
    """A logarithmic y axis with 1, 10, 100 instead of powers of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.grid(visible=True, axis="y")


def plain(value: float, _: int | None = None) -> str:
    """A tick's label without an exponent."""
    return f"{value:g}"


def _short(size: float) -> str:
    return f"{size:.0f}" if size >= 10 else f"{size:.1f}"
