"""Timing work on a backend's compute stream: events around many calls, and one wait afterwards."""

from collections.abc import Iterator, Sequence
from functools import partial
from math import ceil
from statistics import median
from time import perf_counter

from zo2rt.backends import Backend
from zo2rt.measure.handover import handover_s
from zo2rt.measure.timing import Bench, Effort, Work, measure
from zo2sim.cost.measured import Measured
from zo2sim.schedule.ops import Stream

_MOST_CALLS = 1000
_SPANS = 3  # of which the median counts
_LAUNCHES = 500


def measure_on(
    backend: Backend, benches: Sequence[Bench], effort: Effort, *, seed: int
) -> Iterator[Measured]:
    """`timing.measure` on the device's clock."""
    return measure(benches, effort, seed=seed, timed=partial(on_device_s, backend))


def on_device_s(backend: Backend, work: Work, effort: Effort) -> float:
    """Seconds of one call of ``work`` on the compute stream, in a row of calls.

    Two calls come first: they compile, fill the allocator's cache, and say how many calls a span
    needs for the events around it to resolve one.
    """
    span_s(backend, work, 1)
    once_s = max(span_s(backend, work, 1), 1e-9)
    count = min(max(effort.least, ceil(effort.budget_s / once_s)), _MOST_CALLS)
    return median(span_s(backend, work, count) / count for _ in range(_SPANS))


def launches(backend: Backend, work: Work, *, count: int = 6) -> Iterator[Measured]:
    """What the host spends on a launch of ``work`` while the device is behind."""

    def launched() -> None:
        start_s = perf_counter()
        for _ in range(_LAUNCHES):
            work()
        spent_s.append(perf_counter() - start_s)

    spent_s: list[float] = []
    for _ in range(count + 1):
        backend.launch(Stream.COMPUTE, launched, label="launches")
        backend.timings()
    for seconds in spent_s[1:]:
        yield Measured(
            group="launch",
            name="launch",
            amounts={"device.launch_s": float(_LAUNCHES)},
            seconds=seconds,
        )


def event_handovers(backend: Backend, *, count: int = 4) -> Iterator[Measured]:
    """From one stream's end to the start of another one that waited for its event."""
    for _ in range(count):
        seconds = handover_s(backend, repeats=1)
        if seconds > 0.0:
            yield Measured(
                group="event hand-over",
                name="event hand-over",
                amounts={"bench.event_handover_s": 1.0},
                seconds=seconds,
            )


def span_s(backend: Backend, work: Work, count: int) -> float:
    """How long ``count`` calls take together, on the device's clock."""

    def calls() -> None:
        for _ in range(count):
            work()

    backend.launch(Stream.COMPUTE, calls, label="benchmark")
    (timing,) = backend.timings()
    return timing.end_s - timing.start_s
