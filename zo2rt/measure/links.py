"""Copies through a backend: each direction alone, both at once, and through a limited link."""

from collections.abc import Iterator, Sequence

from zo2rt.backends import Backend, HostBackend, LinkLimit, Timing
from zo2sim.cost.measured import Measured
from zo2sim.schedule.ops import Stream

SIZES = (1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 25)
"""Bytes of one copy."""
WAYS = (Stream.H2D, Stream.D2H)
_COPIES = 6  # one after the other, of which the first does not count


def one_way(
    backend: Backend, sizes: Sequence[int] = SIZES, *, ramp_bytes: float = 0.0, pinned: bool = True
) -> Iterator[Measured]:
    """One direction at a time; a copy takes as long as one of ``ramp_bytes`` more."""
    prefix, group = ("", "copy") if pinned else ("pageable_", "pageable copy")
    for stream in WAYS:
        for size in sizes:
            for timing in _copies(backend, (stream,), size, pinned=pinned):
                rate = {f"link.{prefix}{stream}_bytes_per_s": size + ramp_bytes}
                yield _row(timing, group, size, {**rate, "link.latency_s": 1.0})


def both_ways(backend: Backend, size: int = SIZES[-1]) -> Iterator[Measured]:
    """Both directions at once, in copies large enough for the latency not to matter."""
    for timing in _copies(backend, WAYS, size):
        key = f"link.both_{timing.stream}_bytes_per_s"
        yield _row(timing, "copy both ways", size, {key: float(size)})


def limited(bytes_per_s: float, sizes: Sequence[int] = SIZES[1:4]) -> Iterator[Measured]:
    """A link slower than the memory: what a copy takes beyond its bytes at the limit."""
    with HostBackend(LinkLimit.everywhere(bytes_per_s), own_core=True) as backend:
        for size in sizes:
            for timing in _copies(backend, WAYS, size):
                yield _row(
                    timing, "limited copy", size, {"cpu.throttle_s": 1.0}, size / bytes_per_s
                )


def _copies(
    backend: Backend, streams: Sequence[Stream], size: int, *, pinned: bool = True
) -> list[Timing]:
    buffers = {
        s: (backend.device_buffer(size), backend.host_buffer(size, pinned=pinned)) for s in streams
    }
    for device, host in buffers.values():
        device.zero_()  # touch every page
        host.zero_()
    backend.timings()
    for _ in range(_COPIES):
        for stream, (device, host) in buffers.items():
            target, source = (device, host) if stream is Stream.H2D else (host, device)
            backend.copy(stream, target, source, label=f"{stream} of {size} bytes")
    return list(backend.timings())[len(streams) :]


def _row(
    timing: Timing, group: str, size: int, taken: dict[str, float], known_s: float = 0.0
) -> Measured:
    return Measured(
        group=group,
        name=f"{group} {timing.stream} {size}",
        amounts=taken,
        seconds=timing.end_s - timing.start_s,
        known_s=known_s,
        in_loop=True,
    )
