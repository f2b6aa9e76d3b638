"""`cuda` with several devices against the recorded fake: who is asked, and in which order."""

import os
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.zo2rt.backends.fake_accelerator import FakeAccelerator
from tests.zo2rt.backends.promised_order import PromisedOrder
from zo2rt.backends import CudaBackend
from zo2rt.backends.sockets import near, near_cores
from zo2sim.schedule.ops import Stream, Track

H2D, COMPUTE, D2H, HOST = Stream.H2D, Stream.COMPUTE, Stream.D2H, Stream.HOST


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeAccelerator:
    return FakeAccelerator(devices=4).install(monkeypatch)


def test_the_devices_are_the_current_one_and_those_after_it(fake: FakeAccelerator):
    fake.index = 1
    with CudaBackend(devices=3) as backend:
        assert backend.devices == tuple(torch.device("cuda", n) for n in (1, 2, 3))
    with pytest.raises(ValueError, match=r"devices=4 must be .* there are 4, and number 1 is the"):
        CudaBackend(devices=4)


def test_work_sees_the_device_and_stream_of_its_track(fake: FakeAccelerator):
    seen = list[object]()
    with CudaBackend(devices=4) as backend:
        for number in range(4):
            track = Track(number, COMPUTE)
            backend.launch(track, lambda: seen.append((fake.index, fake.current)), label="F")
        assert [index for index, _ in seen] == [0, 1, 2, 3]  # type: ignore[misc]
        assert len({id(stream) for _, stream in seen}) == 4  # type: ignore[misc]
    assert (fake.index, fake.current) == (0, None)


def test_a_thread_of_a_device_is_on_that_device(fake: FakeAccelerator):
    with CudaBackend(devices=2) as backend:
        backend.launch(Track(1, HOST), lambda: None, label="C1%1")
        backend.synchronize()
    assert [c.detail for c in fake.calls("set_device_index")] == [1]


def test_a_stream_waits_for_an_event_of_another_device(fake: FakeAccelerator):
    with CudaBackend(devices=2) as backend:
        start = len(fake.log)
        backend.launch(COMPUTE, lambda: fake.mark("F0"), label="F0")
        backend.wait(Track(1, COMPUTE), backend.record(COMPUTE))
        backend.launch(Track(1, COMPUTE), lambda: fake.mark("F1"), label="F1%1")
        calls = [c.name for c in fake.log[start:] if c.name in ("record", "wait_event", "work")]
    assert calls == [
        *("record", "work", "record"),
        "record",
        "wait_event",
        "record",
        "work",
        "record",
    ]
    assert PromisedOrder(fake.log).before["F1"] == {"F0"}


def across(backend: CudaBackend, fake: FakeAccelerator) -> None:
    """What device 0 computes goes to device 1, which computes with it."""
    here, there = (backend.device_buffer(8, device=n) for n in (0, 1))
    arrivals = Track(1, H2D)
    backend.launch(COMPUTE, lambda: fake.mark("F0"), label="F0")
    backend.wait(arrivals, backend.record(COMPUTE))
    backend.copy(arrivals, there, here, label="S1%1")
    backend.wait(Track(1, COMPUTE), backend.record(arrivals))
    backend.launch(Track(1, COMPUTE), lambda: fake.mark("F1"), label="F1%1")
    backend.launch(COMPUTE, lambda: fake.mark("F2"), label="F2")


def test_a_copy_between_devices_is_ordered_as_its_track_is(fake: FakeAccelerator):
    with CudaBackend(devices=2) as backend:
        across(backend, fake)
    promised = PromisedOrder(fake.log)
    assert promised.copies == [{"F0"}]
    assert promised.before["F1"] == {"F0", ("copy", 0)}
    assert promised.before["F2"] == {"F0"}, "no stream of the sender waits for the copy"
    (copied,) = fake.calls("copy_")
    assert copied.detail is True, "the caller does not wait"


def test_it_runs_on_a_stream_of_the_sender_that_nothing_else_uses(fake: FakeAccelerator):
    with CudaBackend(devices=2) as backend:
        across(backend, fake)
        across(backend, fake)
    first, second = fake.calls("copy_")
    assert first.stream == second.stream
    works = {call.stream for call in fake.calls("work")}
    assert first.stream not in works


def test_without_the_receivers_wait_the_copy_is_not_ordered(fake: FakeAccelerator):
    """So the proof above can fail."""
    with CudaBackend(devices=2) as backend:
        across(backend, fake)
    for call in fake.calls("wait_event"):
        promised = PromisedOrder([other for other in fake.log if other is not call])
        whole = promised.copies == [{"F0"}] and promised.before["F1"] == {"F0", ("copy", 0)}
        assert not whole


def test_every_device_tells_of_its_own_memory(fake: FakeAccelerator):
    fake.free_bytes = 1000
    with CudaBackend(devices=2) as backend:
        backend.device_buffer(64, device=1)
        backend.device_buffer(8)
        assert backend.memory().device_peak_bytes == 72
        assert backend.free_device_bytes(1) == 1000
        assert torch.accelerator.memory_allocated(torch.device("cuda", 1)) == 64


def test_new_memory_is_idle_on_its_own_device(fake: FakeAccelerator):
    with CudaBackend(devices=2) as backend:
        backend.device_buffer(8, device=1)
        assert [(c.name, c.detail) for c in fake.log[-2:]] == [("empty", 8), ("synchronize", 1)]


def test_times_of_all_devices_are_on_one_clock(fake: FakeAccelerator):
    with CudaBackend(devices=4) as backend:
        for number in range(4):
            backend.launch(Track(number, COMPUTE), lambda: None, label=str(number))
        spans = backend.timings()
    assert [span.label for span in spans] == ["0", "1", "2", "3"]
    assert all(a.start_s < b.start_s for a, b in pairwise(spans))


# ---- Sockets ----


def card(pci: Path, cores: str) -> None:
    folder = pci / "0001:41:00.0"
    folder.mkdir(parents=True)
    (folder / "local_cpulist").write_text(cores + "\n")


@pytest.fixture
def properties(monkeypatch: pytest.MonkeyPatch) -> None:
    about = SimpleNamespace(pci_domain_id=1, pci_bus_id=0x41, pci_device_id=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: about)


@pytest.mark.usefixtures("properties")
def test_the_system_tells_which_cores_are_near(tmp_path: Path):
    card(tmp_path, "0-3,8,10-11")
    there = torch.device("cuda", 0)
    assert near_cores(there, tmp_path) == {0, 1, 2, 3, 8, 10, 11}
    assert near_cores(there, tmp_path / "other") == set()
    assert near_cores(torch.device("cpu"), tmp_path) == set()


@pytest.mark.usefixtures("properties")
def test_memory_is_touched_first_from_the_devices_socket(tmp_path: Path):
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        pytest.skip("needs two cores")
    card(tmp_path, str(mine[-1]))
    with near(torch.device("cuda", 0), tmp_path):
        assert os.sched_getaffinity(0) == {mine[-1]}
    assert sorted(os.sched_getaffinity(0)) == mine


@pytest.mark.usefixtures("properties")
def test_a_process_that_may_not_run_there_stays_where_it_is(tmp_path: Path):
    card(tmp_path, "4000-4001")
    before = os.sched_getaffinity(0)
    with near(torch.device("cuda", 0), tmp_path):
        assert os.sched_getaffinity(0) == before
