"""What the host does beside a device: encoding, updates, memory traffic, turns of threads."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Thread
from time import perf_counter
from typing import get_args

import torch

from zo2rt.measure.noise import updates_of
from zo2rt.measure.timing import Bench, Work
from zo2rt.model.codec import encode
from zo2rt.model.layout import WireLayout
from zo2rt.noise import Distribution, Extent, update
from zo2sim.cost.measured import Measured
from zo2sim.dtypes import Dtype

ELEMENTS = (1 << 20, 3 << 20)
"""Of one tensor: too many for a core's own cache."""
_TO_WIRE = ((torch.float32, Dtype.FP8), (torch.bfloat16, Dtype.FP8), (torch.float32, Dtype.BF16))
_ROW = 1024
_TURNS = 200


def encodings(sizes: Sequence[int]) -> Iterator[Bench]:
    """Master weights to a narrower wire, on one core; the constant counts the bytes read."""
    for source, wire in _TO_WIRE:
        for size in sizes:
            nbytes = float(size * source.itemsize)
            yield Bench(
                group="encode",
                name=f"encode {source} as {wire} {size}",
                amounts={"host.encode_bytes_per_s": nbytes},
                prepare=lambda size=size, source=source, wire=wire: _encoding(size, source, wire),
            )


def updates(sizes: Sequence[int]) -> Iterator[Bench]:
    """The update of one record, on one core."""
    for kind in get_args(Distribution):
        for size in sizes:
            yield Bench(
                group="host update",
                name=f"host update {kind} {size}",
                amounts={f"host.{kind}_update_elements_per_s": float(size)},
                prepare=lambda kind=kind, size=size: _update(kind, size),
            )


def contention(num_threads: int, *, nbytes: int = 1 << 25, count: int = 6) -> Iterator[Measured]:
    """Copies by every core at once: what memory gives, reads and writes counted."""
    ends = (torch.zeros, torch.ones)
    pairs = [[new(nbytes, dtype=torch.uint8) for new in ends] for _ in range(num_threads)]
    with ThreadPoolExecutor(num_threads) as pool:
        for number in range(count + 1):
            start_s = perf_counter()
            list(pool.map(lambda pair: pair[0].copy_(pair[1]), pairs))
            seconds = perf_counter() - start_s
            if number:  # the first one starts the threads
                yield Measured(
                    group="memory, every core",
                    name=f"{num_threads} copies of {nbytes}",
                    amounts={"host.dram_bytes_per_s": 2.0 * nbytes * num_threads},
                    seconds=seconds,
                    in_loop=True,
                )


def handovers(*, count: int = 8) -> Iterator[Measured]:
    """Two threads that wake each other in turn, as a lane and its caller do."""
    there, back = SimpleQueue[bool](), SimpleQueue[bool]()

    def answer() -> None:
        while there.get():
            back.put(True)

    thread = Thread(target=answer, name="handover", daemon=True)
    thread.start()
    for _ in range(count):
        start_s = perf_counter()
        for _ in range(_TURNS):
            there.put(True)
            back.get()
        yield Measured(
            group="thread hand-over",
            name="hand-over",
            amounts={"host.stream_handover_s": 2.0 * _TURNS},
            seconds=perf_counter() - start_s,
        )
    there.put(False)
    thread.join()


def _encoding(size: int, source: torch.dtype, wire: Dtype) -> Work:
    weights = torch.randn(size // _ROW, _ROW).to(source)
    layout = WireLayout.of(wire, [tuple(weights.shape)])
    buffer = torch.zeros(layout.num_bytes, dtype=torch.uint8)
    return lambda: encode([weights], buffer, layout)


def _update(kind: Distribution, size: int) -> Work:
    weights = torch.randn(size)
    updates = updates_of(1)
    return lambda: update(weights, Extent(p=3), updates=updates, kind=kind)
