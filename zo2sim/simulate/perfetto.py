"""Traces as Chrome/Kineto JSON, which Perfetto and chrome://tracing open.

Format: "Trace Event Format" (Google, 2016) in its JSON object form. Times are microseconds in
multiples of 1/1024, about a nanosecond, which floating point holds and adds without an error; and a
slice never starts before the one before it on its track has ended. So slices on a track do not
overlap, whoever adds start and duration.
"""

import json
from collections.abc import Iterator, Mapping

from zo2sim.schedule.ops import Op, Stream, Track
from zo2sim.simulate.occupancy import slots_in_use
from zo2sim.simulate.slices import Slice, slices_of
from zo2sim.simulate.trace import Trace

_STREAMS = {stream: number for number, stream in enumerate(Stream, start=1)}

_TICKS_PER_US = 1024

Event = dict[str, object]
"""One trace event."""


def chrome_trace(
    trace: Trace,
    *,
    name: str,
    metadata: Mapping[str, str],
    slot_bytes: int | None = None,
) -> dict[str, object]:
    """A process per device, the first called ``name``, each with a track per stream and a counter
    of slots; and flow arrows.

    Each operation is a complete slice whose arguments say what it touches. An edge across
    tracks is an arrow from the end of one slice to the start of the other; where one of them
    rounds to no time at all, there is no slice to bind it to, and the arrow is left out. The
    counter shows bytes when ``slot_bytes`` (of one slot) is given, and slots otherwise.
    """
    slices = slices_of(trace, 1e6 * _TICKS_PER_US)
    events = [
        *_names(trace, name),
        *(_slice_event(s) for s in slices),
        *_flows(trace, slices),
        *_counters(trace, slot_bytes),
    ]
    return {
        "schemaVersion": 1,
        "displayTimeUnit": "ms",
        "otherData": {key: metadata[key] for key in sorted(metadata)},
        "traceEvents": events,
    }


def to_json(
    trace: Trace,
    *,
    name: str,
    metadata: Mapping[str, str],
    slot_bytes: int | None = None,
) -> str:
    """`chrome_trace` as text; the same trace gives the same text."""
    document = chrome_trace(trace, name=name, metadata=metadata, slot_bytes=slot_bytes)
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _names(trace: Trace, name: str) -> Iterator[Event]:
    for device in range(trace.num_devices):
        own = f"{name}, device {device}" if device else name
        yield _metadata("process_name", {"pid": 1 + device, "tid": 0}, {"name": own})
    for track in trace.tracks:
        place = _place(track)
        yield _metadata("thread_name", place, {"name": str(track)})
        yield _metadata("thread_sort_index", place, {"sort_index": place["tid"]})


def _place(track: Track) -> dict[str, int]:
    """Where a viewer shows a track: devices are its processes, streams their threads."""
    return {"pid": 1 + track.device, "tid": _STREAMS[track.stream]}


def _metadata(what: str, place: Mapping[str, int], args: Mapping[str, str | int]) -> Event:
    return {"ph": "M", "name": what, **place, "args": dict(args)}


def _slice_event(item: Slice) -> Event:
    op = item.span.op
    return {
        "ph": "X",
        "name": op.name,
        "cat": op.kind.value,
        **_place(op.track),
        "ts": item.start / _TICKS_PER_US,
        "dur": (item.end - item.start) / _TICKS_PER_US,
        "args": _arguments(op, item.span.step),
    }


def _arguments(op: Op, step: int) -> dict[str, object]:
    return {
        "unit": op.unit,
        "slot": op.slot,
        "step": step,
        "lanes": op.lanes,
        "records": op.records,
        "reads": [str(buffer) for buffer in op.reads],
        "writes": [str(buffer) for buffer in op.writes],
    }


def _flows(trace: Trace, slices: tuple[Slice, ...]) -> Iterator[Event]:
    """Arrows for edges across tracks, numbered in the order of the operations that wait."""
    for number, (source, target) in enumerate(_edges(trace, slices)):
        left_ticks = min(source.last, target.start)
        yield {**_flow_end("s", number, source), "ts": left_ticks / _TICKS_PER_US}
        yield {
            **_flow_end("f", number, target),
            "bp": "e",
            "ts": target.start / _TICKS_PER_US,
        }


def _flow_end(phase: str, number: int, item: Slice) -> Event:
    place = _place(item.span.op.track)
    return {"ph": phase, "name": "after", "cat": "edge", "id": number, **place}


def _edges(trace: Trace, slices: tuple[Slice, ...]) -> Iterator[tuple[Slice, Slice]]:
    k = trace.steps_per_period
    places = {(s.span.step // k, s.span.op.name): s for s in slices}
    for target in slices:
        period = target.span.step // k
        for edge in target.span.op.after:
            source = places.get((period - edge.endswith("^"), edge.removesuffix("^")))
            if source is not None and _can_be_drawn(source, target):
                yield source, target


def _can_be_drawn(source: Slice, target: Slice) -> bool:
    """Across tracks, both slices last, and the source has begun when the target begins."""
    lasts = all(item.end > item.start for item in (source, target))
    crosses = source.span.op.track != target.span.op.track
    return lasts and crosses and source.start <= target.start


def _counters(trace: Trace, slot_bytes: int | None) -> Iterator[Event]:
    name, unit = ("device slots", "slots") if slot_bytes is None else ("device memory", "bytes")
    for device in range(trace.num_devices):
        for time_s, slots in slots_in_use(trace, device):
            yield {
                "ph": "C",
                "name": name,
                "pid": 1 + device,
                "tid": 0,
                "ts": _ticks(time_s) / _TICKS_PER_US,
                "args": {unit: slots * (1 if slot_bytes is None else slot_bytes)},
            }


def _ticks(time_s: float) -> int:
    return round(time_s * 1e6 * _TICKS_PER_US)
