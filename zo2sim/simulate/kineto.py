"""Traces as PyTorch's profiler writes them, for the tools that read those.

Holistic Trace Analysis and TensorBoard's plugin know an event by its category, its stream and the
launch that it correlates with (PyTorch Kineto, "output_json"). Times are whole microseconds, since
such tools round to these: a slice neither overlaps the next one nor lasts less than nothing.

A schedule does not say when the host launches an operation, only that it never waits inside a step
but for a loss. So a launch is drawn, without a length, at the loss before it in issue order, or
where its operation starts, if that is earlier.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise

from zo2sim.schedule.ops import Kind, Op, Stream, Track
from zo2sim.simulate.perfetto import Event
from zo2sim.simulate.slices import slices_of
from zo2sim.simulate.trace import Span, Trace

_HOST_PID, _HOST_TID = 1000, 1
_FIRST_STREAM = 7
"""As CUDA numbers the first stream that a program makes."""
_FIRST_CORRELATION = 1 << 16
"""Holistic Trace Analysis 0.5 keeps numbers of rows in the integer format that is enough for
correlations, so those of a short trace must need as much as its rows."""
_ORIGIN = 1
"""Where a trace begins, in microseconds, so that a launch can precede what it launches."""
_COPIES = {
    Stream.H2D: "Memcpy HtoD (Pinned -> Device)",
    Stream.D2H: "Memcpy DtoH (Device -> Pinned)",
    Stream.PEER: "Memcpy PtoP (Device -> Device)",
}
_ON_DEVICE = (Stream.COMPUTE, *_COPIES)


def kineto_json(
    trace: Trace,
    *,
    name: str,
    metadata: Mapping[str, str],
    copied_bytes: Mapping[str, float] | None = None,
) -> str:
    """The trace as text; the same trace gives the same text.

    ``copied_bytes`` is what an operation moves over a link, by its name; where it is known, a copy
    bears its bytes and its bandwidth.
    """
    document = {
        "schemaVersion": 1,
        "displayTimeUnit": "ms",
        "distributedInfo": {"backend": "none", "rank": 0, "world_size": 1},
        "deviceProperties": [{"id": d, "name": name} for d in range(trace.num_devices)],
        "otherData": {key: metadata[key] for key in sorted(metadata)},
        "traceEvents": [
            *_names(trace, name),
            *_profiler_steps(trace),
            *_operations(trace, copied_bytes or {}),
        ],
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _names(trace: Trace, name: str) -> Iterator[Event]:
    yield _metadata("process_name", _HOST_PID, 0, f"{name}, host")
    yield _metadata("thread_name", _HOST_PID, _HOST_TID, "launches")
    for device in range(trace.num_devices):
        yield _metadata("process_name", device, 0, f"{name}, device {device}")
    for track in trace.tracks:
        pid, tid = _place(track)
        yield _metadata("thread_name", pid, tid, str(track))


def _metadata(what: str, pid: int, tid: int, name: str) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}


def _place(track: Track) -> tuple[int, int]:
    """Process and thread: a device and its stream, or a thread of the host."""
    number = list(Stream).index(track.stream)
    if track.stream in _ON_DEVICE:
        return track.device, _FIRST_STREAM + number
    return _HOST_PID, _HOST_TID + 1 + number


def _profiler_steps(trace: Trace) -> Iterator[Event]:
    """A step lasts from the loss before it to its own."""
    losses = [round(1e6 * loss_s) for loss_s in trace.losses_s]
    for step, (start, end) in enumerate(pairwise((0, *losses))):
        yield {
            "ph": "X",
            "cat": "user_annotation",
            "name": f"ProfilerStep#{step}",
            "pid": _HOST_PID,
            "tid": _HOST_TID,
            "ts": _ORIGIN + start,
            "dur": end - start,
        }


def _operations(trace: Trace, copied_bytes: Mapping[str, float]) -> Iterator[Event]:
    loss = 0
    for number, item in enumerate(slices_of(trace, 1e6), start=_FIRST_CORRELATION):
        span = item.span
        slot = {"ts": _ORIGIN + item.start, "dur": item.end - item.start}
        if span.op.stream not in _ON_DEVICE:
            yield {**_slice(span, "cpu_op", span.op.name), **slot}
        elif item.end > item.start:
            yield _launch(span.op, number, min(item.start, loss))
            yield {**_device_slice(span, number, copied_bytes), **slot}
        if span.op.kind is Kind.LOSS:
            loss = item.end


def _launch(op: Op, number: int, at_us: int) -> Event:
    return {
        "ph": "X",
        "cat": "cuda_runtime",
        "name": "cudaMemcpyAsync" if op.stream in _COPIES else "cudaLaunchKernel",
        "pid": _HOST_PID,
        "tid": _HOST_TID,
        "ts": at_us,
        "dur": 0,
        "args": {"correlation": number},
    }


def _device_slice(span: Span, number: int, copied_bytes: Mapping[str, float]) -> Event:
    op = span.op
    copies = op.stream in _COPIES
    event = _slice(span, "gpu_memcpy" if copies else "kernel", _COPIES.get(op.stream, op.name))
    _, stream = _place(op.track)
    args: dict[str, object] = {"device": op.device, "stream": stream, "correlation": number}
    nbytes = copied_bytes.get(op.name)
    if copies and nbytes is not None:
        args["bytes"] = round(nbytes)
        args["memory bandwidth (GB/s)"] = nbytes / span.duration_s / 1e9
    return {**event, "args": {"operation": op.name, "step": span.step, **args}}


def _slice(span: Span, category: str, name: str) -> Event:
    pid, tid = _place(span.op.track)
    return {"ph": "X", "cat": category, "name": name, "pid": pid, "tid": tid}
