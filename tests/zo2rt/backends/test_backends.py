"""The contract of `zo2rt.backends.base`, the same tests for every backend."""

import threading
from collections.abc import Iterator
from functools import cache
from time import monotonic, sleep

import pytest
import torch

from tests.thorough import examples
from tests.zo2rt.backends.opened_backends import NAMES, open_backend
from tests.zo2rt.steps.tiny_executor import execute, in_issue_order, whole_run
from zo2rt.backends import Backend, CudaBackend, Event, HostBackend, StreamFailed, VirtualBackend
from zo2rt.measure.handover import handover_s
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.policies import Shape
from zo2sim.schedule.ops import Stream
from zo2sim.schedule.unroll import Unrolled

H2D, COMPUTE, D2H, HOST = Stream.H2D, Stream.COMPUTE, Stream.D2H, Stream.HOST


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    with open_backend(request.param, monkeypatch) as opened:
        yield opened


def ended(backend: Backend, event: Event, within_s: float = 5.0) -> bool:
    """Polls, so that a backend that hangs fails the test instead of stopping it."""
    until_s = monotonic() + within_s
    while not backend.query(event):
        if monotonic() > until_s:
            return False
        sleep(1e-4)
    return True


# ---- Buffers ----


def test_buffers_are_flat_bytes_at_multiples_of_256(backend: Backend):
    made = [backend.device_buffer(n) for n in (1, 255, 257)]
    made += [backend.host_buffer(n, pinned=pinned) for n in (3, 513) for pinned in (True, False)]
    assert [len(buffer) for buffer in made] == [1, 255, 257, 3, 3, 513, 513]
    assert all(buffer.dtype is torch.uint8 and buffer.is_contiguous() for buffer in made)
    assert [buffer.data_ptr() % 256 for buffer in made] == [0] * len(made)


def test_buffers_do_not_share_memory(backend: Backend):
    made = [backend.device_buffer(256) for _ in range(3)] + [backend.host_buffer(256)]
    for value, buffer in enumerate(made):
        buffer.fill_(value)
    assert [int(buffer[255]) for buffer in made] == [0, 1, 2, 3]


def test_memory_counts_what_was_handed_out(backend: Backend):
    backend.device_buffer(100)
    backend.host_buffer(20, pinned=True)
    backend.host_buffer(3, pinned=False)
    figures = backend.memory()
    assert (figures.device_bytes, figures.pinned_bytes, figures.pageable_bytes) == (100, 20, 3)
    assert figures.device_peak_bytes >= 100


def test_a_device_of_its_own_tells_what_it_has_left(backend: Backend):
    left = backend.free_device_bytes()
    assert (left is None) == (backend.device.type == "cpu")
    assert left is None or left > 0


@pytest.mark.parametrize("nbytes", [0, -1])
def test_a_buffer_without_bytes_is_refused(backend: Backend, nbytes: int):
    for allocate in (backend.device_buffer, backend.host_buffer):
        with pytest.raises(ValueError, match=f"at least 1 byte; got {nbytes}"):
            allocate(nbytes)


# ---- Order ----


@pytest.mark.parametrize("stream", [H2D, HOST])
def test_a_stream_runs_in_order_and_everything_once(backend: Backend, stream: Stream):
    ran = list[int]()
    for number in range(50):
        backend.launch(stream, lambda number=number: ran.append(number), label=str(number))
    backend.synchronize()
    assert ran == list(range(50))


@pytest.mark.parametrize(
    ("first", "second"), [(H2D, COMPUTE), (COMPUTE, HOST), (HOST, H2D), (HOST, Stream.NVME_WRITE)]
)
def test_a_wait_orders_two_streams(backend: Backend, first: Stream, second: Stream):
    ran = list[str]()
    for _ in range(5):
        backend.launch(first, lambda: (sleep(1e-3), ran.append("first"))[0], label="first")
        backend.wait(second, backend.record(first))
        backend.launch(second, lambda: ran.append("second"), label="second")
        backend.wait(first, backend.record(second))
    backend.synchronize()
    assert ran == ["first", "second"] * 5


def test_order_passes_through_a_stream_that_was_given_nothing(backend: Backend):
    ran = list[str]()
    backend.launch(HOST, lambda: (sleep(2e-3), ran.append("first"))[0], label="first")
    backend.wait(D2H, backend.record(HOST))
    backend.wait(COMPUTE, backend.record(D2H))
    backend.launch(COMPUTE, lambda: ran.append("second"), label="second")
    backend.synchronize()
    assert ran == ["first", "second"]


def test_a_wait_means_the_last_record_at_its_call(backend: Backend):
    """Were the wait to follow the event to its later recording, both streams would wait."""
    event = backend.record(H2D)
    backend.wait(HOST, event)
    backend.launch(HOST, lambda: None, label="host")
    backend.wait(H2D, backend.record(HOST))
    backend.launch(H2D, lambda: None, label="h2d")
    again = backend.record(H2D, event)
    assert again is event
    assert ended(backend, event)


def test_a_recorded_event_moves_to_its_new_place(backend: Backend):
    ran = list[str]()
    event = backend.record(H2D)
    backend.launch(HOST, lambda: (sleep(2e-3), ran.append("first"))[0], label="first")
    backend.record(HOST, event)
    backend.wait(COMPUTE, event)
    backend.launch(COMPUTE, lambda: ran.append("second"), label="second")
    backend.synchronize()
    assert ran == ["first", "second"]


def test_synchronize_waits_for_one_event_and_for_all(backend: Backend):
    ran = list[str]()
    backend.launch(HOST, lambda: (sleep(1e-3), ran.append("one"))[0], label="one")
    event = backend.record(HOST)
    backend.launch(HOST, lambda: (sleep(1e-3), ran.append("two"))[0], label="two")
    backend.synchronize(event)
    assert ran[0] == "one"
    assert backend.query(event)
    backend.synchronize()
    assert ran == ["one", "two"]


def test_synchronizing_an_idle_backend_returns(backend: Backend):
    backend.synchronize()
    assert backend.timings() == ()


# ---- Copies ----


def test_bytes_go_up_and_come_down(backend: Backend):
    source, target = backend.host_buffer(1000), backend.host_buffer(1000)
    slot = backend.device_buffer(1000)
    source.copy_(torch.arange(1000) % 251)
    target.zero_()
    backend.copy(H2D, slot, source, label="up")
    backend.wait(D2H, backend.record(H2D))
    backend.copy(D2H, target, slot, label="down")
    backend.synchronize()
    assert target.tolist() == source.tolist()


def test_a_part_of_a_buffer_is_copied_alone(backend: Backend):
    source, slot = backend.host_buffer(8), backend.device_buffer(8)
    source.fill_(1)
    backend.launch(H2D, lambda: _zero(slot), label="zero")
    backend.copy(H2D, slot[2:4], source[:2], label="up")
    backend.synchronize()
    assert slot.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


def _zero(tensor: torch.Tensor) -> None:
    tensor.zero_()


def test_copies_of_unlike_tensors_are_refused(backend: Backend):
    slot, block = backend.device_buffer(8), backend.host_buffer(8)
    with pytest.raises(ValueError, match=r"same length; got 8 and 4 bytes"):
        backend.copy(H2D, slot[:4], block, label="H0")
    for wrong in (block[::2], block.view(2, 4), block.view(torch.int32)):
        with pytest.raises(ValueError, match="the source of a copy must be a flat, contiguous"):
            backend.copy(H2D, slot[: len(wrong)], wrong, label="H0")


# ---- Failures ----


def failing() -> None:
    raise KeyError("lost")


@pytest.mark.parametrize("stream", [H2D, HOST])
def test_what_work_raises_reaches_the_caller(backend: Backend, stream: Stream):
    backend.launch(stream, failing, label="F3")
    with pytest.raises(StreamFailed, match=rf"F3 on stream {stream} raised KeyError") as caught:
        backend.synchronize()
    assert isinstance(caught.value.__cause__, KeyError)


def test_after_a_failure_nothing_runs_and_nobody_hangs(backend: Backend):
    ran, issued = list[str](), threading.Event()

    def late() -> None:
        issued.wait(0.2)
        failing()

    backend.launch(HOST, late, label="F3")
    event = backend.record(HOST)
    backend.wait(COMPUTE, event)
    backend.launch(COMPUTE, lambda: ran.append("waiting"), label="waiting")
    end = backend.record(COMPUTE)
    issued.set()
    with pytest.raises(StreamFailed):
        backend.synchronize(end)
    for call in (backend.synchronize, backend.ended, backend.timings, lambda: backend.record(D2H)):
        with pytest.raises(StreamFailed, match="F3"):
            call()
    for call in (lambda: backend.query(event), lambda: backend.wait(D2H, event)):
        with pytest.raises(StreamFailed, match="F3"):
            call()
    with pytest.raises(StreamFailed, match="F3"):
        backend.launch(D2H, lambda: ran.append("later"), label="later")
    backend.close()
    assert ran == []


def test_closing_twice_is_allowed_and_work_afterwards_is_refused(backend: Backend):
    backend.launch(HOST, lambda: None, label="F0")
    backend.close()
    backend.close()
    with pytest.raises(RuntimeError, match="the backend is closed"):
        backend.launch(H2D, lambda: None, label="F1")


# ---- Ambient modes ----


def modes() -> tuple[bool, bool, bool, torch.dtype]:
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
    )


@pytest.mark.parametrize("stream", [COMPUTE, HOST])
def test_work_runs_in_the_modes_of_the_call_that_launched_it(backend: Backend, stream: Stream):
    seen, expected = list[object](), list[object]()

    def launch() -> None:
        expected.append(modes())
        backend.launch(stream, lambda: seen.append(modes()), label="modes")

    launch()
    with torch.no_grad():
        launch()
    with torch.inference_mode():
        launch()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            launch()
    with torch.autocast("cpu", dtype=torch.float16):
        launch()
        with torch.autocast("cpu", enabled=False):
            launch()
    with torch.inference_mode(), torch.autocast("cpu"):
        backend.synchronize()
    assert seen == expected
    assert len(set(expected)) == len(expected)


def test_work_uses_as_many_threads_as_the_caller(backend: Backend):
    seen = list[int]()
    backend.launch(HOST, lambda: seen.append(torch.get_num_threads()), label="threads")
    backend.synchronize()
    assert seen == [torch.get_num_threads()]


# ---- Whole schedules ----

PLANS = [
    (Plan(policy=policy, tier=tier), Recipe())
    for policy in Policy
    for tier in ("ram", "nvme")
    if tier == "ram" or policy not in (Policy.HOST_UPDATE, Policy.ZO2_REFERENCE)
] + [
    (Plan(write_back_every=2, num_slots=3, resident_blocks=1), Recipe()),
    (Plan(num_slots=1, reuse_slots=False), Recipe(perturbation="in_place")),
    (Plan(deferred_update=False), Recipe()),
]


@cache
def expected(plan: Plan, recipe: Recipe) -> tuple[tuple[Unrolled, ...], dict[str, list[int]]]:
    """Three periods, and the bytes of their issue order."""
    unrolled = whole_run(Shape(num_blocks=3), plan, recipe, periods=3)
    return unrolled, in_issue_order(unrolled)


@pytest.mark.parametrize("choice", PLANS, ids=lambda c: f"{c[0].policy}-{c[0].tier}")
def test_a_schedule_gives_the_bytes_of_its_issue_order(
    backend: Backend, choice: tuple[Plan, Recipe]
):
    unrolled, found = expected(*choice)
    assert execute(backend, unrolled) == found


@pytest.mark.parametrize("policy", Policy)
def test_any_legal_order_gives_the_same_bytes(policy: Policy):
    unrolled = whole_run(Shape(num_blocks=3), Plan(policy=policy), Recipe())
    expected = in_issue_order(unrolled)
    for seed in range(examples(200)):
        assert execute(VirtualBackend(seed), unrolled) == expected, f"seed {seed}"


# ---- What only one backend promises ----


def order_of(seed: int) -> list[str]:
    ran = list[str]()
    backend = VirtualBackend(seed)
    for number in range(4):
        for stream in (H2D, COMPUTE, D2H):
            label = f"{stream}{number}"
            backend.launch(stream, lambda label=label: ran.append(label), label=label)
    backend.synchronize()
    return ran


def test_a_seed_chooses_an_order_and_always_the_same_one():
    assert order_of(3) == order_of(3)
    assert len({tuple(order_of(seed)) for seed in range(20)}) > 10


def test_a_hand_over_between_threads_costs_at_most_200_us():
    with HostBackend() as backend:
        assert 0 < handover_s(backend) <= 200e-6


def interrupted() -> None:
    raise KeyboardInterrupt


def test_an_interrupted_caller_is_interrupted():
    backend = VirtualBackend()
    backend.launch(COMPUTE, interrupted, label="F0")
    with pytest.raises(KeyboardInterrupt):
        backend.synchronize()


def test_streams_that_wait_for_each_other_are_an_error_not_a_hang():
    with VirtualBackend() as one, VirtualBackend() as other:
        other.launch(H2D, lambda: None, label="H0")
        one.wait(COMPUTE, other.record(H2D))
        with pytest.raises(RuntimeError, match="every stream waits for another one"):
            one.synchronize()


def test_without_an_accelerator_cuda_says_what_to_do():
    if torch.accelerator.is_available():
        pytest.skip("there is one")
    with pytest.raises(RuntimeError, match="no accelerator; use --backend host or virtual"):
        CudaBackend()
