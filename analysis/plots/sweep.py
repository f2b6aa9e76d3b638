"""Every figure that a sweep's table has rows for."""

from collections.abc import Callable

from matplotlib.figure import Figure

from analysis.plots.ablation import ablation
from analysis.plots.both_ways import both_ways
from analysis.plots.break_even import break_even
from analysis.plots.memory import memory_against_size
from analysis.plots.rows import Table, has
from analysis.plots.throughput import throughput_against_size
from analysis.plots.timeline import timeline
from zo2sim.trace import Trace


def sweep_figures(
    table: Table, published: Table, *, trace: Trace | None = None
) -> dict[str, Figure]:
    """Figures by the keys that the report uses; the timeline shows the trace's steady period."""
    plots: dict[str, Callable[[], Figure]] = {
        "memory": lambda: memory_against_size(table, published),
        "throughput": lambda: throughput_against_size(table),
        "ablation": lambda: ablation(table),
        "break-even": lambda: break_even(table),
        "both-ways": lambda: both_ways(table),
    }
    figures = {key: plot() for key, plot in plots.items() if has(table, key.replace("-", "_"))}
    if trace is not None:
        figures["timeline"] = timeline(trace, trace.steady)
    return figures
