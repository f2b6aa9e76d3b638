"""What handing over costs: an operation to its stream, and one stream's turn to the next one."""

from itertools import pairwise
from statistics import median
from time import perf_counter, sleep

from zo2rt.backends.base import Backend
from zo2sim.schedule.ops import Stream

PING, PONG = Stream.H2D, Stream.D2H


def handover_s(backend: Backend, *, count: int = 100, repeats: int = 3) -> float:
    """Median seconds between two streams that wait for each other, the best of some runs.

    All is launched before the first operation ends, so the launching does not count. The best,
    because whatever else the machine does can only add to it.
    """
    return min(_median_s(backend, count) for _ in range(repeats))


def launch_s(backend: Backend, *, count: int = 200) -> float:
    """Median seconds that the caller spends on an operation: its wait, its launch, its record."""
    end = backend.record(PING)
    seconds: list[float] = []
    for number in range(count):
        stream = (PING, PONG)[number % 2]
        start_s = perf_counter()
        backend.wait(stream, end)
        backend.launch(stream, _nothing, label="launch")
        end = backend.record(stream)
        seconds.append(perf_counter() - start_s)
    backend.timings()
    return median(seconds)


def _median_s(backend: Backend, count: int) -> float:
    backend.timings()
    backend.launch(Stream.HOST, lambda: sleep(count * 1e-4), label="until all is launched")
    end = backend.record(Stream.HOST)
    for number in range(count):
        stream = (PING, PONG)[number % 2]
        backend.wait(stream, end)
        backend.launch(stream, _nothing, label="handover")
        end = backend.record(stream)
    chain = backend.timings()[1:]
    return median(b.start_s - a.end_s for a, b in pairwise(chain))


def _nothing() -> None:
    pass
