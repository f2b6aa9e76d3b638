"""`cuda` against the recorded fake: what it asks of the device, and what order that promises."""

from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from time import monotonic, sleep

import pytest
import torch

from tests.function_lines import lines_of, lines_run
from tests.zo2rt.backends.fake_accelerator import FakeAccelerator
from tests.zo2rt.backends.promised_order import PromisedOrder
from tests.zo2rt.backends.test_cuda_devices import across
from tests.zo2rt.steps.tiny_executor import execute, in_issue_order, whole_run
from zo2rt.backends import CudaBackend, Event, StreamFailed, Timing, cuda
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.policies import Shape
from zo2sim.schedule.ops import Stream, Track
from zo2sim.schedule.unroll import Unrolled

OF_GATES = ("open", "pass")
H2D, COMPUTE, D2H, HOST = Stream.H2D, Stream.COMPUTE, Stream.D2H, Stream.HOST


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeAccelerator:
    return FakeAccelerator().install(monkeypatch)


@pytest.fixture
def backend(fake: FakeAccelerator) -> Iterator[CudaBackend]:
    with CudaBackend() as opened:
        yield opened


# ---- The call log implies every edge ----


def run_marked(fake: FakeAccelerator, unrolled: tuple[Unrolled, ...]) -> None:
    """Every operation marks the log when it runs; those of the host are slow."""
    with CudaBackend(devices=len(fake.devices)) as backend:
        events = list[object]()
        for number, item in enumerate(unrolled):
            for dep in item.deps:
                if dep != item.track_prev:
                    backend.wait(item.op.track, events[dep])  # type: ignore[arg-type]

            def work(number: int = number, item: Unrolled = item) -> None:
                if item.op.stream not in cuda.DEVICE_STREAMS:
                    sleep(1e-3)
                fake.mark(number)

            backend.launch(item.op.track, work, label=item.name)
            events.append(backend.record(item.op.track))
        backend.synchronize()


def unpromised(fake: FakeAccelerator, unrolled: tuple[Unrolled, ...]) -> list[str]:
    """Edges that the log does not imply."""
    before = PromisedOrder(fake.log).before
    assert set(before) == set(range(len(unrolled)))
    return [
        f"{item.name} <- {unrolled[dep].name}"
        for number, item in enumerate(unrolled)
        for dep in item.deps
        if dep not in before[number]
    ]


PLANS = [
    *(Plan(policy=policy) for policy in Policy),
    Plan(tier="nvme"),
    Plan(policy=Policy.DUAL, tier="nvme", num_slots=1),
    Plan(write_back_every=2, num_slots=3),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: f"{p.policy}-{p.tier}")
def test_the_calls_imply_every_edge_of_the_schedule(fake: FakeAccelerator, plan: Plan):
    unrolled = whole_run(Shape(num_blocks=3), plan, Recipe(), periods=3)
    run_marked(fake, unrolled)
    assert unpromised(fake, unrolled) == []


SEVERAL = [
    Plan(devices=2),
    Plan(devices=4, lane_groups=2, scratch_copies=2, write_back_every=2),
    Plan(devices=2, placement="whole"),
    Plan(devices=4, placement="whole", write_back_every=2),
    Plan(devices=2, placement="sliced"),
    Plan(devices=4, placement="sliced"),
]


@pytest.mark.parametrize("plan", SEVERAL, ids=lambda p: f"{p.placement}-{p.devices}")
def test_so_they_do_between_devices(monkeypatch: pytest.MonkeyPatch, plan: Plan):
    fake = FakeAccelerator(devices=plan.devices).install(monkeypatch)
    unrolled = whole_run(Shape(num_blocks=5), plan, Recipe(microbatches=2), periods=3)
    run_marked(fake, unrolled)
    assert unpromised(fake, unrolled) == []


def test_without_one_of_its_calls_an_edge_is_no_longer_implied(fake: FakeAccelerator):
    """Each wait of a stream on another one is there for an edge."""
    unrolled = whole_run(Shape(num_blocks=3), Plan(), Recipe())
    run_marked(fake, unrolled)
    log = fake.log
    for call in fake.calls("wait_event"):
        fake.log = [other for other in log if other is not call]
        assert unpromised(fake, unrolled) != []


def test_the_host_waits_for_the_device_only_from_its_threads_and_at_the_end(
    fake: FakeAccelerator, backend: CudaBackend
):
    start = len(fake.log)
    backend.launch(COMPUTE, lambda: None, label="L")
    backend.wait(H2D, backend.record(COMPUTE))
    backend.launch(H2D, lambda: None, label="H0")
    end = backend.record(H2D)
    assert {c.name for c in fake.log[start:]} == {"record", "wait_event", *OF_GATES}
    backend.synchronize(end)
    assert [c.name for c in fake.log[start:]].count("event.synchronize") == 1


# ---- Who issues ----


def test_device_work_is_issued_by_the_caller_at_once(backend: CudaBackend):
    ran = list[str]()
    backend.launch(COMPUTE, lambda: ran.append("F0"), label="F0")
    assert ran == ["F0"]


def test_the_caller_does_not_wait_for_work_of_the_host(backend: CudaBackend):
    """The upload waits for a read that ends only after the caller has launched everything."""
    ran, launched = list[str](), list[bool]()

    def read() -> None:
        while not launched:
            sleep(1e-4)
        ran.append("R0")

    backend.launch(Stream.NVME_READ, read, label="R0")
    backend.wait(H2D, backend.record(Stream.NVME_READ))
    backend.launch(H2D, lambda: ran.append("H0"), label="H0")
    backend.wait(COMPUTE, backend.record(H2D))
    backend.launch(COMPUTE, lambda: ran.append("F0"), label="F0")
    launched.append(True)
    backend.synchronize()
    assert ran == ["R0", "H0", "F0"]
    backend.launch(COMPUTE, lambda: ran.append("F1"), label="F1")
    assert ran[-1] == "F1"


def test_work_sees_its_stream_as_the_current_one(fake: FakeAccelerator, backend: CudaBackend):
    seen = list[object]()
    for stream in (H2D, COMPUTE, HOST):
        backend.launch(stream, lambda: seen.append(fake.current), label=str(stream))
    backend.synchronize()
    up, compute, host = seen
    assert up is not compute
    assert host is None
    assert fake.current is None


def test_threads_take_the_callers_device(fake: FakeAccelerator, backend: CudaBackend):
    backend.launch(HOST, lambda: None, label="J")
    backend.synchronize()
    assert [c.detail for c in fake.calls("set_device_index")] == [0]


def test_a_span_begins_after_the_waits_and_encloses_the_work(
    fake: FakeAccelerator, backend: CudaBackend
):
    start = len(fake.log)
    backend.launch(H2D, lambda: None, label="H0")
    backend.wait(COMPUTE, backend.record(H2D))
    backend.launch(COMPUTE, lambda: fake.mark("F0"), label="F0")
    compute = fake.log[-1].stream
    calls = [call.name for call in fake.log[start:] if call.stream == compute]
    assert calls == ["wait_event", "record", "work", "record"]


def test_what_the_device_has_not_come_to_has_not_ended(fake: FakeAccelerator, backend: CudaBackend):
    backend.launch(COMPUTE, lambda: None, label="F0")
    fake.is_behind = True
    start = len(fake.log)
    assert backend.ended() == ()
    assert {call.name for call in fake.log[start:]} == {"query"}
    fake.is_behind = False
    assert [t.label for t in backend.ended()] == ["F0"]


def test_times_stay_exact_in_a_long_run_that_never_waits_for_everything(
    fake: FakeAccelerator, backend: CudaBackend
):
    """PyTorch's fp32 milliseconds resolve 8 ms after 100 000 s; a step's events must not."""
    spans = list[Timing]()
    for _ in range(1000):
        fake.slept_s += 100.003
        backend.launch(COMPUTE, lambda: None, label="F0")
        spans += backend.ended()
    errors_s = [abs(b.start_s - a.start_s - 100.003) for a, b in pairwise(spans)]
    assert len(spans) == 1000
    assert median(errors_s) < 5e-4


# ---- Memory ----


def test_exactly_the_bytes_that_are_used_are_page_locked(
    fake: FakeAccelerator, backend: CudaBackend
):
    assert backend.host_buffer(5000).data_ptr() % 4096 == 0
    backend.host_buffer(77, pinned=False)
    assert [c.detail for c in fake.calls("cudaHostRegister")] == [5000]
    backend.close()
    assert [c.detail for c in fake.calls("cudaHostUnregister")] == [5000]
    assert fake.locked == {}


def test_a_failed_page_lock_says_what_to_do(fake: FakeAccelerator, backend: CudaBackend):
    fake.register_error = 2
    with pytest.raises(RuntimeError, match=r"77 bytes failed with CUDA error 2; raise the limit"):
        backend.host_buffer(77)
    assert backend.memory().pinned_bytes == 0


def test_another_accelerator_uses_pytorchs_own_page_locked_memory(
    monkeypatch: pytest.MonkeyPatch,
):
    other = torch.device("xpu", 0)
    fake = FakeAccelerator(other).install(monkeypatch)
    with CudaBackend() as backend:
        assert backend.device == other
        assert backend.host_buffer(77).is_pinned()
    assert fake.calls("cudaHostRegister") == []


def test_copies_do_not_block_the_caller(fake: FakeAccelerator, backend: CudaBackend):
    slot, block = backend.device_buffer(8), backend.host_buffer(8)
    backend.copy(H2D, slot, block, label="H0")
    backend.copy(HOST, block, block.clone(), label="E0")
    backend.synchronize()
    up, encode = fake.calls("copy_")[-2:]
    assert (up.detail, encode.detail) == (True, False)
    assert up.stream is not None


def test_copies_between_devices_do_not_block_the_caller(monkeypatch: pytest.MonkeyPatch):
    fake = FakeAccelerator(devices=2).install(monkeypatch)
    with CudaBackend(devices=2) as backend:
        here, there = (backend.device_buffer(8, device=n) for n in (0, 1))
        backend.copy(Track(1, COMPUTE), there, here, label="S1%1")
    assert [c.detail for c in fake.calls("copy_")] == [True]


def test_copies_from_pageable_memory_are_refused_unless_asked_for(fake: FakeAccelerator):
    with CudaBackend() as strict, CudaBackend(pageable_copies=True) as lenient:
        block, slot = strict.host_buffer(8, pinned=False), strict.device_buffer(8)
        lenient.copy(H2D, slot, block, label="H0")
        lenient.synchronize()
        strict.copy(H2D, slot, block, label="H0")
        with pytest.raises(StreamFailed, match=r"must be page-locked .* pageable_copies=True"):
            strict.synchronize()


def test_new_device_memory_is_idle_before_other_streams_use_it(
    fake: FakeAccelerator, backend: CudaBackend
):
    backend.device_buffer(8)
    assert [c.name for c in fake.log[-2:]] == ["empty", "synchronize"]


def test_what_pytorch_keeps_for_later_is_free_too(fake: FakeAccelerator, backend: CudaBackend):
    fake.free_bytes, fake.kept_bytes = 100, 20
    backend.device_buffer(8)
    assert backend.free_device_bytes() == 120


def test_an_accelerator_that_does_not_tell_what_is_free_has_no_bound(
    fake: FakeAccelerator, backend: CudaBackend, monkeypatch: pytest.MonkeyPatch
):
    fake.device_error = NotImplementedError("no memory info")
    assert backend.free_device_bytes() is None
    monkeypatch.delattr(torch.accelerator, "get_memory_info")
    assert backend.free_device_bytes() is None
    fake.device_error = None


# ---- Failures of the device ----


def test_an_error_of_the_device_reaches_the_caller(fake: FakeAccelerator):
    backend = CudaBackend()
    fake.device_error = RuntimeError("illegal address")
    backend.launch(COMPUTE, lambda: None, label="F0")
    with pytest.raises(RuntimeError, match="illegal address"):
        backend.synchronize()
    backend.close()


def test_an_error_of_the_device_does_not_hang_those_who_wait_on_the_host(fake: FakeAccelerator):
    ran = list[str]()
    with CudaBackend() as backend:
        fake.device_error = RuntimeError("illegal address")
        backend.launch(COMPUTE, lambda: None, label="F0")
        backend.wait(HOST, backend.record(COMPUTE))
        backend.launch(HOST, lambda: ran.append("J"), label="J")
        with pytest.raises(StreamFailed, match=r"wait on stream host raised .*illegal address"):
            backend.synchronize(backend.record(HOST))
    assert ran == []


def poll(backend: CudaBackend, end: Event, for_s: float = 5.0) -> None:
    until_s = monotonic() + for_s
    while monotonic() < until_s:
        backend.query(end)


def test_a_recording_that_fails_on_a_thread_does_not_hang_the_caller(fake: FakeAccelerator):
    backend = CudaBackend()
    backend.launch(HOST, lambda: sleep(2e-3), label="R0")
    backend.wait(COMPUTE, backend.record(HOST))
    fake.record_error = RuntimeError("illegal address")
    end = backend.record(COMPUTE)
    with pytest.raises(StreamFailed, match=r"record on stream compute raised .*illegal address"):
        poll(backend, end)
    backend.close()


# ---- Coverage ----


def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of each kind; what they compute is tested elsewhere."""
    FakeAccelerator().install(monkeypatch)
    for plan in (Plan(), Plan(tier="nvme")):
        unrolled = whole_run(Shape(num_blocks=2), plan, Recipe())
        with CudaBackend() as backend:
            assert backend.device.type == "cuda"
            assert execute(backend, unrolled) == in_issue_order(unrolled)
            assert len(backend.timings()) >= len(unrolled)
            assert backend.query(backend.record(COMPUTE))
            assert backend.memory().device_bytes > 0
            assert backend.free_device_bytes()
    test_another_accelerator_uses_pytorchs_own_page_locked_memory(monkeypatch)
    test_copies_from_pageable_memory_are_refused_unless_asked_for(
        FakeAccelerator().install(monkeypatch)
    )
    test_copies_between_devices_do_not_block_the_caller(monkeypatch)
    several = FakeAccelerator(devices=2).install(monkeypatch)
    with CudaBackend(devices=2) as backend:
        across(backend, several)
    with pytest.raises(ValueError, match="from 1 to the number of accelerators"):
        CudaBackend(devices=3)
    FakeAccelerator(None).install(monkeypatch)
    with pytest.raises(RuntimeError, match="no accelerator"):
        CudaBackend()


def test_the_fake_executes_at_least_95_percent_of_the_lines(monkeypatch: pytest.MonkeyPatch):
    lines = lines_of(cuda)
    missed = sorted(lines - lines_run(cuda, lambda: everything(monkeypatch)))
    assert len(lines) > 80
    assert len(missed) <= 0.05 * len(lines), f"lines {missed} of cuda.py never ran"
