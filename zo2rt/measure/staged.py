"""Copies between a device and pageable memory by several threads, through page-locked buffers.

Each thread moves a chunk between pageable memory and a page-locked buffer while the link carries
those that are ready: what a loader does that reads weights from memory it did not allocate.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter

import torch
from torch import Tensor

from zo2rt.backends import Backend, Event
from zo2sim.cost.measured import Measured
from zo2sim.schedule.ops import Stream

CHUNK_BYTES = 1 << 23
_BUFFERS = 2  # per thread: one is filled while the link empties the other
_COPIES = 4  # of which the first does not count


def staged(
    backend: Backend, nbytes: int, *, num_threads: int, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Measured]:
    """Whole copies each way, in wall-clock time; ``nbytes`` is rounded up to whole chunks."""
    count = -(-nbytes // chunk_bytes)
    chunks = [
        [*whole.split(chunk_bytes)]
        for whole in (
            backend.device_buffer(count * chunk_bytes),
            torch.ones(count * chunk_bytes, dtype=torch.uint8),
        )
    ]
    buffers = [backend.host_buffer(chunk_bytes) for _ in range(_BUFFERS * num_threads)]
    ways: dict[Stream, _Way] = {Stream.H2D: _upload, Stream.D2H: _download}
    with ThreadPoolExecutor(num_threads) as pool:
        for stream, way in ways.items():
            for number in range(_COPIES):
                backend.synchronize()
                start_s = perf_counter()
                way(backend, pool, buffers, *chunks)
                seconds = perf_counter() - start_s
                if number:
                    yield Measured(
                        group="staged copy",
                        name=f"staged copy {stream} {count * chunk_bytes}, {num_threads} threads",
                        amounts={f"link.staged_{stream}_bytes_per_s": float(count * chunk_bytes)},
                        seconds=seconds,
                        in_loop=True,
                    )
            backend.timings()  # nobody reads them, and they would add up


_Way = Callable[[Backend, ThreadPoolExecutor, list[Tensor], list[Tensor], list[Tensor]], None]


def _upload(
    backend: Backend,
    pool: ThreadPoolExecutor,
    buffers: list[Tensor],
    device: list[Tensor],
    host: list[Tensor],
) -> None:
    """A buffer is filled anew once its copy has ended; copies are issued in order."""
    filled: list[Future[Tensor]] = []
    copied: list[Event] = []

    def fill(number: int) -> None:
        if number >= len(buffers):
            backend.synchronize(copied[number - len(buffers)])
        filled.append(pool.submit(buffers[number % len(buffers)].copy_, host[number]))

    for number in range(min(len(buffers), len(host))):
        fill(number)
    for number, target in enumerate(device):
        backend.copy(Stream.H2D, target, filled[number].result(), label="staged")
        copied.append(backend.record(Stream.H2D))
        if number + len(buffers) < len(host):
            fill(number + len(buffers))
    backend.synchronize()


def _download(
    backend: Backend,
    pool: ThreadPoolExecutor,
    buffers: list[Tensor],
    device: list[Tensor],
    host: list[Tensor],
) -> None:
    """A buffer is copied to anew once it has been emptied."""
    copied: list[Event] = []
    emptied: list[Future[Tensor]] = []

    def copy(number: int) -> None:
        if number >= len(buffers):
            emptied[number - len(buffers)].result()
        backend.copy(Stream.D2H, buffers[number % len(buffers)], device[number], label="staged")
        copied.append(backend.record(Stream.D2H))

    for number in range(min(len(buffers), len(device))):
        copy(number)
    for number, target in enumerate(host):
        backend.synchronize(copied[number])
        emptied.append(pool.submit(target.copy_, buffers[number % len(buffers)]))
        if number + len(buffers) < len(device):
            copy(number + len(buffers))
    for future in emptied:
        future.result()
