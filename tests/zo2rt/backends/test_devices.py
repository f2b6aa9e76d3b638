"""Several devices: a track is a stream of one of them, and order between them comes from events."""

from collections.abc import Callable, Iterator
from time import sleep

import pytest
import torch

from tests.zo2rt.backends.fake_accelerator import FakeAccelerator
from tests.zo2rt.backends.opened_backends import SLOW
from zo2rt.backends import Backend, CudaBackend, HostBackend, StreamFailed, VirtualBackend
from zo2rt.races.backend import Checked
from zo2rt.races.detector import RaceFound
from zo2sim.schedule.ops import Stream, Track

H2D, COMPUTE, D2H, HOST = Stream.H2D, Stream.COMPUTE, Stream.D2H, Stream.HOST
PLAIN: dict[str, Callable[[int], Backend]] = {
    "host": lambda n: HostBackend(devices=n),
    "virtual": lambda n: VirtualBackend(devices=n),
    "cuda, fake": lambda n: CudaBackend(devices=n),
}


def opened(name: str, monkeypatch: pytest.MonkeyPatch, devices: int = 2) -> Backend:
    if "fake" in name:
        FakeAccelerator(devices=devices).install(monkeypatch)
    plain = PLAIN[name.removesuffix(", checked")](devices)
    return Checked(plain) if name.endswith("checked") else plain


@pytest.fixture(params=[*PLAIN, *(f"{name}, checked" for name in PLAIN)])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    with opened(request.param, monkeypatch) as two:
        yield two


def test_a_stream_alone_is_that_of_the_first_device(backend: Backend):
    backend.launch(HOST, lambda: None, label="J")
    backend.launch(Track(1, COMPUTE), lambda: None, label="F1%1")
    assert [t.track for t in backend.timings()] == [Track(0, HOST), Track(1, COMPUTE)]
    assert len(backend.devices) == 2
    assert backend.device == backend.devices[0]


@pytest.mark.parametrize("stream", [H2D, COMPUTE, HOST])
def test_a_wait_orders_one_stream_of_two_devices(backend: Backend, stream: Stream):
    ran, one, other = list[str](), Track(0, stream), Track(1, stream)
    for _ in range(5):
        backend.launch(one, lambda: (sleep(1e-3), ran.append("one"))[0], label="one")
        backend.wait(other, backend.record(one))
        backend.launch(other, lambda: ran.append("other"), label="other")
        backend.wait(one, backend.record(other))
    backend.synchronize()
    assert ran == ["one", "other"] * 5


def test_an_event_moves_from_one_device_to_another(backend: Backend):
    ran, other = list[str](), Track(1, HOST)
    event = backend.record(H2D)
    backend.launch(other, lambda: (sleep(2e-3), ran.append("first"))[0], label="first")
    backend.record(other, event)
    backend.wait(COMPUTE, event)
    backend.launch(COMPUTE, lambda: ran.append("second"), label="second")
    backend.synchronize()
    assert ran == ["first", "second"]


def test_every_device_has_an_account_of_its_own(backend: Backend):
    backend.device_buffer(100)
    backend.device_buffer(30, device=1)
    backend.device_buffer(4, device=1)
    assert backend.memory().by_device == (100, 34)
    assert backend.memory().device_bytes == 134


def test_bytes_go_from_device_to_device(backend: Backend):
    source, target = (backend.host_buffer(1000, device=n) for n in range(2))
    slots = [backend.device_buffer(1000, device=n) for n in range(2)]
    source.copy_(torch.arange(1000) % 251)
    target.zero_()
    there, down = Track(1, COMPUTE), Track(1, D2H)
    backend.copy(H2D, slots[0], source, label="up")
    backend.wait(there, backend.record(H2D))
    backend.copy(there, slots[1], slots[0], label="across")
    backend.wait(down, backend.record(there))
    backend.copy(down, target, slots[1], label="down")
    backend.synchronize()
    assert target.tolist() == source.tolist()


def test_a_failure_on_one_device_stops_the_others_and_names_it(backend: Backend):
    ran = list[str]()

    def failing() -> None:
        raise KeyError("lost")

    backend.launch(Track(1, COMPUTE), failing, label="F1%1")
    with pytest.raises(StreamFailed, match=r"F1%1 on stream compute%1 raised KeyError"):
        backend.synchronize()
    with pytest.raises(StreamFailed):
        backend.launch(COMPUTE, lambda: ran.append("later"), label="later")
    assert ran == []


@pytest.mark.parametrize("new", [HostBackend, VirtualBackend, CudaBackend])
def test_there_is_at_least_one_device(new: Callable[..., Backend], monkeypatch: pytest.MonkeyPatch):
    FakeAccelerator().install(monkeypatch)
    with pytest.raises(ValueError, match=r"devices(=| must be >= 1; got )0"):
        new(devices=0)


# ---- Races between devices ----


@pytest.mark.parametrize("name", [f"{name}, checked" for name in PLAIN])
@pytest.mark.parametrize("ordered", [True, False])
def test_streams_of_one_name_on_two_devices_race(
    name: str, ordered: bool, monkeypatch: pytest.MonkeyPatch
):
    with opened(name, monkeypatch) as checked:
        slot = checked.device_buffer(64)
        checked.launch(COMPUTE, lambda: checked.touch(writes=(slot,)), label="F0")
        if ordered:
            checked.wait(Track(1, COMPUTE), checked.record(COMPUTE))
        checked.launch(Track(1, COMPUTE), lambda: checked.touch(reads=(slot,)), label="F1%1")
        if ordered:
            checked.synchronize()
            return
        with pytest.raises(RaceFound, match=r"(F1%1 \(compute%1|F0 \(compute), its operation 0"):
            checked.synchronize()


# ---- Links ----


def test_a_link_is_one_devices_own():
    """Up on one device and down on another are not both ways of one link."""
    nbytes, devices = 4_000_000, range(2)
    with HostBackend(SLOW, devices=2) as backend:
        slots = [backend.device_buffer(nbytes, device=n).zero_() for n in devices]
        blocks = [backend.host_buffer(nbytes).zero_() for _ in devices]
        backend.copy(Track(0, H2D), slots[0], blocks[0], label="up")
        backend.copy(Track(1, D2H), blocks[1], slots[1], label="down")
        spans = backend.timings()
    alone_s = nbytes / SLOW.h2d_bytes_per_s
    assert all(alone_s <= span.end_s - span.start_s < 1.6 * alone_s for span in spans)
    assert max(span.start_s for span in spans) < min(span.end_s for span in spans)
