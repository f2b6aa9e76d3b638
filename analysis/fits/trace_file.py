"""A run's trace read back from the file that `zo2sim.simulate.perfetto` writes."""

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zo2sim.schedule.ops import Op, Program
from zo2sim.simulate.trace import Span, Trace

_MOST_BYTES = 256 << 20  # some two million operations
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def read_trace(path: Path, program: Program) -> Trace:
    """The trace of a run of ``program``, in issue order; times are whole nanoseconds.

    Raises ``ValueError`` where the file is no trace, unpacks to more than a trace has, or holds an
    operation that the program lacks.
    """
    try:
        with gzip.open(path) as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ValueError(f"it unpacks to more than {_MOST_BYTES >> 20} MiB")
        document = json.loads(text)
        slices = [event for event in document["traceEvents"] if event["ph"] == "X"]
        return trace_of(slices, program)
    except (*_MALFORMED, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: must be a trace of this run; {error}") from None


def trace_of(slices: list[Mapping[str, Any]], program: Program) -> Trace:
    """The trace of the complete slices of a Chrome trace."""
    first = {op.name: op for op in program.prologue.ops}
    later = {op.name: op for op in program.period.ops}
    places = {name: number for number, name in enumerate(later)}
    unknown = next((s["name"] for s in slices if s["name"] not in later), None)
    if unknown is not None:
        raise ValueError(f"{program.period.name} has no operation {unknown}: is it another plan's?")
    ordered = sorted(slices, key=lambda s: (int(s["args"]["step"]), places[s["name"]]))
    return Trace(
        name=program.period.name,
        steps_per_period=program.period.steps,
        spans=tuple(
            _span(s, first if int(s["args"]["step"]) < program.period.steps else later)
            for s in ordered
        ),
    )


def _span(piece: Mapping[str, Any], ops: Mapping[str, Op]) -> Span:
    start_s, end_s = piece["ts"] / 1e6, (piece["ts"] + piece["dur"]) / 1e6
    return Span(ops[piece["name"]], int(piece["args"]["step"]), start_s, end_s)
