# pyright: reportUnknownMemberType=false
"""Where streaming costs nothing: throughput relative to the resident model, by link and tokens."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.style import BLACK, COLUMN_IN, new_figure, styled
from analysis.plots.ticks import ticks_by_decade
from analysis.table import Floats, Table, floats, of_question, texts

LINKS_GB_PER_S: Mapping[str, float] = {"PCIe 3": 11.5, "PCIe 4": 25.5, "PCIe 5": 55.6}
"""Measured one-way rates of x16 links, pinned memory: rapidsai/dask-cuda pull 98,
NVIDIA/nvbandwidth issue 11, and an H100's nvbandwidth output."""

LEVELS: Mapping[float, str] = {0.5: "0.5", 0.9: "0.9", 0.999: "1.0"}
"""Ratios whose contours are drawn, with their labels. Where copies are hidden the ratio is 1 but
for rounding, so the line for 1 is drawn where a thousandth is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Throughput relative to the resident model's, ``ratio[i, j]``, by size of step and link.

    ``i`` counts ``tokens`` per step, ``j`` the link's ``bytes_per_s``.

    Both axes ascend; a point without a prediction is NaN.
    """

    tokens: Floats
    bytes_per_s: Floats
    ratio: Floats


@styled
def break_even(table: Table) -> Figure:
    """Heat map of throughput relative to the resident model, question ``break_even``."""
    grid = ratios(table)
    figure = new_figure(COLUMN_IN, 2.5)
    axes = figure.add_subplot()
    x, y, z = grid.bytes_per_s / 1e9, grid.tokens, np.ma.masked_invalid(grid.ratio)
    mesh = axes.pcolormesh(x, y, z, cmap="cividis", vmin=0.0, vmax=1.0, shading="gouraud")
    mesh.set_rasterized(True)
    figure.colorbar(mesh, ax=axes, label="throughput, ZO2 / resident", pad=0.02, aspect=25)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _contours(axes, grid)
    for axis in (axes.xaxis, axes.yaxis):
        ticks_by_decade(axis)
    _mark_links(axes)
    axes.set_xlabel("link rate, host to device (GB/s)")
    axes.set_ylabel("tokens per step")
    return figure


def ratios(table: Table) -> Grid:
    """Throughput of streaming over that of policy ``resident`` at the same tokens per step.

    Raises ``ValueError`` when there are fewer than two link rates or sizes of step, or when a
    size has no resident row to compare with.
    """
    rows = of_question(table, "break_even")
    resident = np.array([policy == "resident" for policy in texts(rows, "policy")])
    tokens, speed = floats(rows, "tokens_per_step"), floats(rows, "tokens_per_s")
    rate = floats(rows, "h2d_bytes_per_s")
    base = dict(zip(tokens[resident], speed[resident], strict=True))
    steps, links = np.unique(tokens[~resident]), np.unique(rate[~resident])
    if min(len(steps), len(links)) < 2 or not set(steps) <= set(base):
        raise ValueError(
            "break_even needs at least 2 link rates and 2 sizes of step, each size with a row of "
            f"policy resident; got {len(links)} rates, {len(steps)} sizes, {len(base)} resident"
        )
    ratio = np.full((len(steps), len(links)), np.nan)
    places = np.searchsorted(steps, tokens[~resident]), np.searchsorted(links, rate[~resident])
    ratio[places] = speed[~resident] / np.array([base[t] for t in tokens[~resident]])
    return Grid(tokens=steps, bytes_per_s=links, ratio=ratio)


def _contours(axes: Axes, grid: Grid) -> None:
    z = np.ma.masked_invalid(grid.ratio)
    levels = [level for level in LEVELS if z.min() < level < z.max()]
    if levels:
        inks = ["white" if level < 0.7 else BLACK for level in levels]
        x, y = grid.bytes_per_s / 1e9, grid.tokens
        lines = axes.contour(x, y, z, levels=levels, colors=inks, linewidths=0.9)
        axes.clabel(lines, fmt=dict(LEVELS), fontsize=7)


def _mark_links(axes: Axes) -> None:
    low, high = axes.get_xlim()
    shown = {name: rate for name, rate in LINKS_GB_PER_S.items() if low <= rate <= high}
    for name, rate in shown.items():
        axes.axvline(rate, color="#8C8C8C", lw=0.7, ls=(0, (3, 2)))
        axes.annotate(
            name,
            (rate, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7,
        )
