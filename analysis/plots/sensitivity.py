# pyright: reportUnknownMemberType=false
"""What a step depends on: a tornado of constants, and contours over two of them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.plots.style import BLACK, BLUE, COLUMN_IN, FULL_IN, ORANGE, new_figure, styled
from analysis.plots.ticks import plain
from zo2sim.predict.sensitivity import LINK, SWING, Elasticity, Grid

_MOST = 10  # bars of a tornado
_GIGA_KEYS = ("bytes_per_s", "elements_per_s")
_UNITS = {
    "_bytes_per_s": "GB/s",
    "_elements_per_s": "1e9 elements/s",
    "_flops_per_s": "FLOP/s",
    "_s": "s",
}
"""By the ending of a constant's name; those that end in none of these have no unit."""


@styled
def tornado(found: Sequence[Elasticity], step_s: float) -> Figure:
    """Step time with each constant divided and multiplied by `SWING`, the largest swing on top."""
    rows = sorted(found, key=lambda e: -e.swing_s)[:_MOST]
    figure = new_figure(FULL_IN, 0.8 + 0.22 * max(1, len(rows)))
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    sides = (
        (f"divided by {SWING:g}", [r.low_s for r in rows], ORANGE),
        (f"times {SWING:g}", [r.high_s for r in rows], BLUE),
    )
    for label, ends, colour in sides:
        axes.barh(places, np.array(ends) - step_s, left=step_s, color=colour, label=label)
    axes.axvline(step_s, color=BLACK, lw=0.6)
    axes.set_yticks(places, [_named(r.key) for r in rows])
    axes.invert_yaxis()
    axes.set_xlabel("step time (s)")
    axes.grid(visible=True, axis="x")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@styled
def step_contours(grid: Grid) -> Figure:
    """Step time over two constants of the machine, as shades and labelled contours."""
    figure = new_figure(COLUMN_IN, 2.5)
    axes = figure.add_subplot()
    x, y = _scaled(grid.x_key, grid.xs), _scaled(grid.y_key, grid.ys)
    mesh = axes.pcolormesh(x, y, grid.step_s, cmap="cividis", shading="gouraud")
    mesh.set_rasterized(True)
    figure.colorbar(mesh, ax=axes, label="step time (s)", pad=0.02, aspect=25)
    if grid.step_s.max() > grid.step_s.min() * (1 + 1e-6):
        levels = _levels(float(grid.step_s.min()), float(grid.step_s.max()))
        lines = axes.contour(x, y, grid.step_s, levels=levels, colors="white", linewidths=0.8)
        axes.clabel(lines, fmt="%.3g", fontsize=7)
    for axis, key in ((axes.xaxis, grid.x_key), (axes.yaxis, grid.y_key)):
        axis.set_label_text(axis_label(key))
    _log_axes(axes)
    return figure


def axis_label(key: str) -> str:
    """The constant with its unit in brackets."""
    if key == LINK:
        return "link rate, host to device (GB/s)"
    unit = next((unit for ending, unit in _UNITS.items() if key.endswith(ending)), None)
    return _named(key) if unit is None else f"{_named(key)} ({unit})"


def _named(key: str) -> str:
    """A constant in words: ``device memory rate``."""
    for ending in ("_bytes_per_s", "_elements_per_s", "_flops_per_s"):
        key = key.replace(ending, " rate")
    return key.removesuffix("_s").replace(".", " ").replace("_", " ")


def _scaled(key: str, values: Sequence[float]) -> list[float]:
    giga = key == LINK or key.endswith(_GIGA_KEYS)
    return [value / 1e9 if giga else value for value in values]


def _levels(low: float, high: float) -> list[float]:
    """Five step times between two, evenly spaced as ratios."""
    return [low * (high / low) ** (i / 6) for i in range(1, 6)]


def _log_axes(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(plain))
        axis.set_minor_formatter(NullFormatter())
