"""The trace that a run's folder holds, in the format that its reader's tool wants."""

from collections.abc import Mapping
from typing import Annotated, Literal

import tyro

from zo2sim.simulate.kineto import kineto_json
from zo2sim.simulate.perfetto import to_json
from zo2sim.simulate.trace import Trace

TraceFormat = Annotated[
    Literal["perfetto", "kineto"],
    tyro.conf.arg(
        help="Of the trace in the folder: for ui.perfetto.dev, or as PyTorch's profiler writes it, "
        "for Holistic Trace Analysis and TensorBoard."
    ),
]
"""The flag of every command that leaves a trace."""


def trace_text(
    trace: Trace,
    form: TraceFormat,
    *,
    name: str,
    metadata: Mapping[str, str],
    slot_bytes: int | None = None,
    copied_bytes: Mapping[str, float] | None = None,
) -> str:
    """``slot_bytes`` is for Perfetto's counter of device memory, ``copied_bytes`` for Kineto's
    bandwidths."""
    if form == "kineto":
        return kineto_json(trace, name=name, metadata=metadata, copied_bytes=copied_bytes)
    return to_json(trace, name=name, metadata=metadata, slot_bytes=slot_bytes)
