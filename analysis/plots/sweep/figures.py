"""Every figure that a sweep's table has rows for."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from analysis.plots.sweep.ablation import ablation
from analysis.plots.sweep.both_ways import both_ways
from analysis.plots.sweep.break_even import break_even
from analysis.plots.sweep.memory import memory_against_size, memory_breakdown
from analysis.plots.sweep.one_to_eight import answers_cards, one_to_eight
from analysis.plots.sweep.ram import answers_ram, ram_needed
from analysis.plots.sweep.share import answers_budget, throughput_share
from analysis.plots.sweep.throughput import throughput_against_size
from analysis.plots.timeline import timeline
from analysis.table import GIB, Table, floats, has
from zo2sim.simulate.trace import Trace


def sweep_figures(
    table: Table,
    published: Table,
    *,
    trace: Trace | None = None,
    items: Table | None = None,
) -> dict[str, Figure]:
    """Figures by the keys that the report uses.

    The timeline shows the trace's steady period. ``items`` itemises the device memory of question
    ``breakdown``: label, item, bytes.
    """
    plots: dict[str, Callable[[], Figure]] = {
        "memory": lambda: memory_against_size(table, published),
        "throughput": lambda: throughput_against_size(table),
        "ablation": lambda: ablation(table),
        "break-even": lambda: break_even(table),
        "both-ways": lambda: both_ways(table),
    }
    figures = {key: plot() for key, plot in plots.items() if has(table, key.replace("-", "_"))}
    if answers_budget(table):
        figures["share"] = throughput_share(table)
    if answers_cards(table):
        figures["one-to-eight"] = one_to_eight(table)
    if answers_ram(table):
        figures["ram"] = ram_needed(table)
    if items is not None:
        figures["breakdown"] = memory_breakdown(items, limit_gib=_limit_gib(table))
    if trace is not None:
        figures["timeline"] = timeline(trace, trace.steady)
    return figures


def _limit_gib(table: Table) -> float | None:
    """The largest budget of device memory that the sweep sets, if it sets one."""
    rooms = floats(table, "device.memory_bytes")
    return None if np.isnan(rooms).all() else float(np.nanmax(rooms)) / GIB
