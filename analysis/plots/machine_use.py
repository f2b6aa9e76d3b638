# pyright: reportUnknownMemberType=false
"""What a machine did during a run: memory, cores, GPU and power over time."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from analysis.plots.style import BLUE, COLUMN_IN, ORANGE, new_figure, styled
from analysis.table import Table, floats

_PANEL_IN = 0.95
_PANELS: Mapping[str, Mapping[str, tuple[str, float]]] = {
    "memory (GiB)": {
        "host_rss_bytes": ("process", 2.0**-30),
        "device_memory_bytes": ("device", 2.0**-30),
    },
    "busy cores": {"host_cpu": ("", 1.0)},
    "GPU busy (%)": {"device_busy": ("", 100.0)},
    "link (GB/s)": {
        "pcie_h2d_bytes_per_s": ("to the device", 1e-9),
        "pcie_d2h_bytes_per_s": ("from the device", 1e-9),
    },
    "power (W)": {"power_w": ("", 1.0)},
}
"""Columns of the samples by panel: their names in the legend, and what they are multiplied by."""


@styled
def machine_use(samples: Table) -> Figure:
    """A panel per kind of figure; those that no sample tells are left out.

    ``samples`` has ``time_s`` and the columns of `zo2rt.sampling`; at least one must be told.
    """
    told = {label: found for label, panel in _PANELS.items() if (found := _told(samples, panel))}
    if not told:
        raise ValueError("samples must tell memory, cores, GPU or power; these tell nothing")
    figure = new_figure(COLUMN_IN, 0.4 + _PANEL_IN * len(told))
    panels = figure.subplots(len(told), 1, sharex=True, squeeze=False)[:, 0]
    times_s = floats(samples, "time_s")
    for axes, (label, columns) in zip(panels, told.items(), strict=True):
        for (name, scale), column, color in zip(
            columns.values(), columns, (BLUE, ORANGE), strict=False
        ):
            axes.plot(times_s, scale * floats(samples, column), color=color, label=name)
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0.0)
        axes.grid(visible=True, axis="y")
        if len(columns) > 1:
            axes.legend(loc="lower right")
    panels[-1].set_xlabel("time (s)")
    return figure


def _told(samples: Table, panel: Mapping[str, tuple[str, float]]) -> dict[str, tuple[str, float]]:
    return {
        column: drawn
        for column, drawn in panel.items()
        if np.isfinite(floats(samples, column)).any()
    }
