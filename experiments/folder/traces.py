"""The trace that a run's folder holds, in the format that its reader's tool wants."""

from collections.abc import Mapping
from typing import Literal

from zo2sim.simulate.kineto import kineto_json
from zo2sim.simulate.perfetto import to_json
from zo2sim.simulate.trace import Trace

TraceFormat = Literal["perfetto", "kineto"]


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
