"""Slow links: rates, deadlines and contention, in a time that the test keeps itself."""

from collections.abc import Callable
from time import perf_counter

import pytest
import torch

from zo2rt.backends import HostBackend, LinkLimit
from zo2rt.backends.throttle import CHUNK_BYTES, Throttle
from zo2sim.schedule.ops import Stream

LIMIT = LinkLimit(
    h2d_bytes_per_s=8 * CHUNK_BYTES,
    d2h_bytes_per_s=4 * CHUNK_BYTES,
    both_h2d_bytes_per_s=2 * CHUNK_BYTES,
    both_d2h_bytes_per_s=1 * CHUNK_BYTES,
)


class Time:
    """A clock that only moves when somebody sleeps; ``late_s`` is what each sleep overshoots."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now_s, self.late_s = 0.0, late_s
        self.waits: list[float] = []
        self.on_wait: Callable[[], None] = lambda: None

    def clock(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds + self.late_s
        on_wait, self.on_wait = self.on_wait, lambda: None
        on_wait()


def throttle(time: Time, limit: LinkLimit | None = LIMIT) -> Throttle:
    return Throttle(limit, clock=time.clock, wait_s=time.wait)


def chunks(count: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Target and source of that many chunks."""
    source = (torch.arange(int(count * CHUNK_BYTES)) % 251).to(torch.uint8)
    return torch.zeros_like(source), source


@pytest.mark.parametrize(("stream", "seconds"), [(Stream.H2D, 0.5), (Stream.D2H, 1.0)])
def test_each_direction_has_its_rate(stream: Stream, seconds: float):
    time = Time()
    target, source = chunks(4)
    throttle(time).copy(stream, target, source)
    assert time.now_s == seconds
    assert torch.equal(target, source)


def test_a_chunk_that_is_not_full_takes_its_part():
    time = Time()
    throttle(time).copy(Stream.H2D, *chunks(1.5))
    assert time.waits == [1 / 8, 0.5 / 8]


def test_what_one_sleep_overshoots_the_next_one_makes_up_for():
    time = Time(late_s=1 / 64)
    throttle(time).copy(Stream.H2D, *chunks(8))
    assert time.now_s == 1 + 1 / 64


def test_a_thread_that_wakes_up_late_makes_up_for_it():
    """The link is asked at 0; its thread begins at 0.25."""
    time = Time()
    time.now_s = 0.25
    throttle(time).copy(Stream.H2D, *chunks(8), 0.0)
    assert time.now_s == 1


def test_after_a_long_delay_nothing_sleeps_until_the_deadline_is_ahead_again():
    time = Time()
    time.on_wait = lambda: setattr(time, "now_s", time.now_s + 3.5 / 8)
    throttle(time).copy(Stream.H2D, *chunks(8))
    assert time.waits == [1 / 8, 0.5 / 8, 1 / 8, 1 / 8, 1 / 8]
    assert time.now_s == 1


def test_the_other_direction_slows_a_copy_that_is_under_way():
    """The upload's first chunk is alone; the download that starts then lasts until it ends."""
    time = Time()
    link = throttle(time)
    time.on_wait = lambda: link.copy(Stream.D2H, *chunks(1))
    link.copy(Stream.H2D, *chunks(1))
    assert time.waits == [1 / 8, 1.0]


def test_a_copy_is_at_full_speed_again_when_the_other_direction_stops():
    time = Time()
    link = throttle(time)
    time.on_wait = lambda: link.copy(Stream.D2H, *chunks(1))
    link.copy(Stream.H2D, *chunks(2))
    time.waits.clear()
    link.copy(Stream.H2D, *chunks(1))
    assert time.waits == [1 / 8]


def test_a_direction_is_free_again_after_a_copy_that_failed():
    time = Time()
    link = throttle(time)
    with pytest.raises(ValueError):
        link.copy(Stream.D2H, torch.zeros(3, dtype=torch.uint8), chunks(1)[1])
    link.copy(Stream.H2D, *chunks(1))
    assert time.waits == [1 / 8]


@pytest.mark.parametrize("stream", [Stream.HOST, Stream.NVME_READ, Stream.COMPUTE])
def test_only_the_link_is_limited(stream: Stream):
    time = Time()
    throttle(time).copy(stream, *chunks(2))
    throttle(time, None).copy(Stream.H2D, *chunks(2))
    assert time.waits == []


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_rates_must_be_positive(rate: float):
    with pytest.raises(ValueError, match="d2h_bytes_per_s must be > 0"):
        LinkLimit(
            h2d_bytes_per_s=1, d2h_bytes_per_s=rate, both_h2d_bytes_per_s=1, both_d2h_bytes_per_s=1
        )


def test_a_limited_host_takes_its_time_on_a_real_clock():
    """No upper bound: the machine may be busy. 2 MB at 20 MB/s is 100 ms."""
    limit = LinkLimit(
        h2d_bytes_per_s=20e6,
        d2h_bytes_per_s=20e6,
        both_h2d_bytes_per_s=1e6,
        both_d2h_bytes_per_s=1e6,
    )
    with HostBackend(limit) as backend:
        source, slot = backend.host_buffer(2_000_000), backend.device_buffer(2_000_000)
        start_s = perf_counter()
        backend.copy(Stream.H2D, slot, source, label="H0")
        backend.synchronize()
        elapsed_s = perf_counter() - start_s
        (timing,) = backend.timings()
    assert 0.1 <= timing.end_s - timing.start_s <= elapsed_s


def test_a_rate_that_the_other_direction_does_not_change_is_one_sleep():
    rate = 8 * CHUNK_BYTES
    steady = LinkLimit(
        h2d_bytes_per_s=rate,
        d2h_bytes_per_s=2 * rate,
        both_h2d_bytes_per_s=rate,
        both_d2h_bytes_per_s=rate,
    )
    time = Time()
    target, source = chunks(4)
    throttle(time, steady).copy(Stream.H2D, target, source)
    assert time.waits == [0.5]
    assert torch.equal(target, source)
    time = Time()
    throttle(time, steady).copy(Stream.D2H, *chunks(4))
    assert len(time.waits) == 4
