"""Times of what a backend ran: the part of the contract that traces are made of."""

import threading
from collections.abc import Iterator
from functools import partial
from time import sleep

import pytest

from tests.zo2rt.backends.opened_backends import NAMES, open_backend
from zo2rt.backends import Backend, HostBackend, VirtualBackend
from zo2sim.schedule.ops import Stream

H2D, COMPUTE, D2H, HOST = Stream.H2D, Stream.COMPUTE, Stream.D2H, Stream.HOST


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    with open_backend(request.param, monkeypatch) as opened:
        yield opened


def test_times_come_in_launch_order_and_start_after_the_waits(backend: Backend):
    backend.launch(HOST, lambda: sleep(2e-3), label="first")
    backend.wait(COMPUTE, backend.record(HOST))
    backend.launch(COMPUTE, lambda: None, label="second")
    backend.launch(COMPUTE, lambda: None, label="third")
    first, second, third = backend.timings()
    assert [t.label for t in (first, second, third)] == ["first", "second", "third"]
    assert [t.stream for t in (first, second, third)] == [HOST, COMPUTE, COMPUTE]
    assert 0 <= first.start_s <= first.end_s
    assert second.start_s <= second.end_s <= third.start_s <= third.end_s


def test_a_span_starts_after_a_wait_on_the_same_kind_of_stream(backend: Backend):
    for first, second in ((H2D, COMPUTE), (HOST, Stream.NVME_READ)):
        backend.launch(first, lambda: sleep(1e-3), label="first")
        backend.wait(second, backend.record(first))
        backend.launch(second, lambda: None, label="second")
        before, after = backend.timings()
        assert before.end_s <= after.start_s


def test_beside_the_host_s_compute_stream_a_span_starts_when_it_is_asked_for():
    """What it waited for last, on its own stream or another, has just ended: no wake-up between."""
    with HostBackend() as backend:
        for wait_ms, copy_ms in ((5, 1), (1, 8), (1, 1)):
            backend.launch(COMPUTE, partial(sleep, wait_ms / 1e3), label="before")
            backend.wait(H2D, backend.record(COMPUTE))
            backend.launch(H2D, partial(sleep, copy_ms / 1e3), label="copy")
        spans = backend.timings()
    computes, copies = spans[::2], spans[1::2]
    for number, (before, copy) in enumerate(zip(computes, copies, strict=True)):
        asked_s = max(before.end_s, copies[number - 1].end_s if number else 0.0)
        assert asked_s <= copy.start_s <= asked_s + 1e-3


def test_times_are_given_once_and_the_clock_goes_on(backend: Backend):
    backend.launch(H2D, lambda: None, label="one")
    (one,) = backend.timings()
    backend.launch(H2D, lambda: None, label="two")
    (two,) = backend.timings()
    assert (two.label, two.start_s >= one.end_s) == ("two", True)


def test_what_has_ended_is_given_in_launch_order_and_once(backend: Backend):
    for number in range(3):
        backend.launch((H2D, HOST)[number % 2], lambda: None, label=str(number))
    backend.synchronize()
    backend.launch(COMPUTE, lambda: None, label="3")
    first = backend.ended()
    assert [t.label for t in first][:3] == ["0", "1", "2"]
    assert all(0 <= t.start_s <= t.end_s for t in first)
    assert [t.label for t in (*first, *backend.timings())] == ["0", "1", "2", "3"]
    assert (backend.ended(), backend.timings()) == ((), ())


def test_what_ended_early_waits_for_what_was_launched_before(backend: Backend):
    ran = list[str]()
    backend.launch(HOST, lambda: (sleep(2e-2), ran.append("slow"))[0], label="slow")
    backend.launch(COMPUTE, lambda: ran.append("quick"), label="quick")
    backend.synchronize(backend.record(COMPUTE))
    given = [t.label for t in backend.ended()]
    assert given == [] or ran[0] == "slow"
    backend.synchronize()
    assert given + [t.label for t in backend.ended()] == ["slow", "quick"]


# ---- What only one backend promises ----


@pytest.mark.parametrize("name", ["host", "cuda, fake"])
def test_asking_what_has_ended_does_not_wait(name: str, monkeypatch: pytest.MonkeyPatch):
    gate = threading.Event()
    with open_backend(name, monkeypatch) as backend:
        backend.launch(HOST, lambda: (gate.wait(), None)[1], label="slow")
        backend.launch(COMPUTE, lambda: None, label="quick")
        ended = backend.ended()
        gate.set()
        assert ended == ()
        assert len(backend.timings()) == 2


def test_asking_what_has_ended_lets_nothing_run():
    backend = VirtualBackend()
    backend.launch(COMPUTE, lambda: None, label="F0")
    assert [backend.ended() for _ in range(3)] == [(), (), ()]


def test_virtual_times_are_those_of_the_edges():
    durations = {"up": 3.0, "compute": 5.0, "down": 2.0, "next": 4.0}
    backend = VirtualBackend(9, duration_s=lambda _, label: durations[label])
    backend.launch(H2D, lambda: None, label="up")
    backend.wait(COMPUTE, backend.record(H2D))
    backend.launch(COMPUTE, lambda: None, label="compute")
    backend.wait(D2H, backend.record(COMPUTE))
    backend.launch(D2H, lambda: None, label="down")
    backend.launch(H2D, lambda: None, label="next")
    spans = [(t.label, t.start_s, t.end_s) for t in backend.timings()]
    assert spans == [("up", 0, 3), ("compute", 3, 8), ("down", 8, 10), ("next", 3, 7)]


def test_in_virtual_time_the_caller_launches_after_what_it_waited_for():
    backend = VirtualBackend()
    backend.launch(COMPUTE, lambda: None, label="loss")
    backend.synchronize()
    backend.launch(H2D, lambda: None, label="next")
    assert [(t.start_s, t.end_s) for t in backend.timings()] == [(0, 1), (1, 2)]
