"""Holistic Trace Analysis, which people read Kineto's traces with: its eight calls."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from zo2sim.simulate.kineto import kineto_json
from zo2sim.simulate.trace import Trace

POINT = 0.01
"""How far shares may be apart: a hundredth."""

CALLS: Mapping[str, Callable[[Any], Any]] = {
    "idle time": lambda a: a.get_idle_time_breakdown(visualize=False)[0],
    "overlap": lambda a: a.get_comm_comp_overlap(visualize=False),
    "launches": lambda a: a.get_cuda_kernel_launch_stats(visualize=False)[0],
    "queue lengths": lambda a: a.get_queue_length_summary(),
}
"""Calls that must answer, beside those whose numbers are compared."""


def opened(trace: Trace, folder: Path, **options: Any) -> Any:
    """The trace in a folder, read by the tool; a test is skipped where that is not installed."""
    hta = pytest.importorskip("hta.trace_analysis", reason="HolisticTraceAnalysis is not installed")
    file = folder / "trace.json"
    file.write_text(kineto_json(trace, name="run", metadata={}, **options))
    logging.getLogger("hta").setLevel(logging.ERROR)
    return hta.TraceAnalysis(trace_files={0: str(file)}, trace_dir=str(folder))


def shares(analysis: Any) -> dict[str, float]:
    """Of the time that it looks at: computing and idle; of the busy time: copying alone."""
    times = analysis.get_temporal_breakdown(visualize=False).iloc[0]
    kinds, _ = analysis.get_gpu_kernel_breakdown(visualize=False)
    kind = dict(zip(kinds["kernel_type"], kinds["percentage"] / 100, strict=True))
    return {
        "computing": times["compute_time_pctg"] / 100,
        "idle": times["idle_time_pctg"] / 100,
        "exposed": kind.get("MEMORY", 0.0),
    }
