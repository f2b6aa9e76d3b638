"""A run's trace read back from the file that `zo2sim.trace_export` writes."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zo2sim.schedule import Program
from zo2sim.trace import Span, Trace


def read_trace(path: Path, program: Program) -> Trace:
    """The trace of a run of ``program``, in issue order; times are whole nanoseconds.

    Raises ``ValueError`` where the file is no trace, or holds an operation that the program lacks.
    """
    try:
        document = json.loads(gzip.decompress(path.read_bytes()))
        slices = [event for event in document["traceEvents"] if event["ph"] == "X"]
        return trace_of(slices, program)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: must be a trace of this run; {error}") from None


def trace_of(slices: list[Mapping[str, Any]], program: Program) -> Trace:
    """The trace of the complete slices of a Chrome trace."""
    ops = {op.name: op for op in program.period.ops}
    places = {name: number for number, name in enumerate(ops)}
    unknown = next((s["name"] for s in slices if s["name"] not in ops), None)
    if unknown is not None:
        raise ValueError(f"{program.period.name} has no operation {unknown}: is it another plan's?")
    ordered = sorted(slices, key=lambda s: (int(s["args"]["step"]), places[s["name"]]))
    return Trace(
        name=program.period.name,
        steps_per_period=program.period.steps,
        spans=tuple(
            Span(
                ops[s["name"]],
                int(s["args"]["step"]),
                s["ts"] / 1e6,
                (s["ts"] + s["dur"]) / 1e6,
            )
            for s in ordered
        ),
    )
