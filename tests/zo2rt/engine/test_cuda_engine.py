"""The engine on `cuda` over the recorded fake: its calls imply every edge of its program."""

from collections import Counter
from collections.abc import Hashable
from contextlib import nullcontext
from dataclasses import dataclass
from time import sleep

import pytest
from torch import Tensor, nn

from tests.families import batch, build
from tests.thorough import THOROUGH
from tests.zo2rt.backends.fake_accelerator import Call, FakeAccelerator
from tests.zo2rt.backends.promised_order import PromisedOrder
from tests.zo2rt.engine.engine_cases import CASES, TRIED, Case
from tests.zo2rt.engine.engine_runs import NUM_STEPS
from zo2rt.backends import CudaBackend, Work
from zo2rt.backends.cuda import DEVICE_STREAMS
from zo2rt.backends.threads import Action, StreamThread
from zo2rt.backends.tracks import Where, track_of
from zo2rt.engine.engine import Engine, MezoSgd, Objective
from zo2rt.model.loss import LossFn, model_loss
from zo2sim.schedule.ops import Kind, Program
from zo2sim.schedule.unroll import Unrolled, unroll

OPTIMIZER = MezoSgd(lr=1e-2)
WITH_HOST = ("zo2", "zo2, blocks on NVMe", "host_update", "ring of four, in groups")
"""What waits for other threads than a device's, in each of the ways."""


@dataclass(frozen=True)
class Run:
    """What an engine did on the fake: the calls, and the program that it ran."""

    fake: FakeAccelerator
    program: Program

    @property
    def unrolled(self) -> tuple[Unrolled, ...]:
        """The program, a period further than the steps that were taken."""
        return unroll(self.program, periods=1 + -(-NUM_STEPS // self.program.period.steps))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeAccelerator:
    return FakeAccelerator(devices=4).install(monkeypatch)


class Marked(CudaBackend):
    """Every operation marks the log when it runs: the first one of a name is period 0's."""

    def __init__(self, fake: FakeAccelerator, case: Case) -> None:
        super().__init__(devices=case.plan.devices)
        self._fake = fake
        self._seen = Counter[str]()
        self._senders = senders(case.program)

    def launch(self, track: Where, work: Work, *, label: str) -> None:
        key = (self._seen[label], label)
        self._seen[label] += 1

        def marked() -> None:
            if track_of(track).stream not in DEVICE_STREAMS:
                self._fake.mark_start(key)
            sender = self._senders.get(label)
            with nullcontext() if sender is None else self._fake.sent(sender):
                work()
            self._fake.mark(key)

        super().launch(track, marked, label=label)


def senders(program: Program) -> dict[str, int]:
    """Where what a SEND brings comes from."""
    ops = (*program.prologue.ops, *program.period.ops)
    return {op.name: op.reads[0].device for op in ops if op.kind is Kind.SEND}


def run(fake: FakeAccelerator, case: Case, loss_fn: LossFn = model_loss) -> Run:
    model, data = build("opt"), batch("opt", rows=2 * case.recipe.microbatches)
    objective = Objective(example=data, loss_fn=loss_fn)
    with Marked(fake, case) as backend, case.folder() as folder:
        engine = Engine(
            model, *case, objective, backend=backend, optimizer=OPTIMIZER, folder=folder
        )
        for _ in range(NUM_STEPS):
            engine.step(data)
        backend.synchronize()
        log = [*fake.log]
        engine.close()
    fake.log = log
    return Run(fake, engine.program)


def unpromised(log: list[Call], ran: Run) -> list[str]:
    """Edges of the program that the calls do not imply, the next step's arrivals included."""
    before, items = PromisedOrder(log).before, ran.unrolled
    keys = [(item.period, item.name) for item in items]
    assert {k for k, i in zip(keys, items, strict=True) if i.step < NUM_STEPS} <= set(before)
    return [
        f"{item.name} of step {item.step} <- {items[dep].name}"
        for key, item in zip(keys, items, strict=True)
        for dep in item.deps
        if key in before and keys[dep] not in before[key]
    ]


@pytest.mark.parametrize("case", TRIED.values(), ids=TRIED)
def test_the_calls_of_an_engine_imply_every_edge(fake: FakeAccelerator, case: Case):
    ran = run(fake, case)
    assert unpromised(fake.log, ran) == []


@pytest.mark.parametrize("name", CASES if THOROUGH else WITH_HOST)
def test_so_they_do_where_the_caller_finds_a_thread_idle(
    fake: FakeAccelerator, name: str, monkeypatch: pytest.MonkeyPatch
):
    """The host is late, a device stream's thread has waited for it, and the caller issues again."""
    put = StreamThread.put

    def put_late_or_wait(thread: StreamThread, action: Action) -> None:
        if thread.track.stream not in DEVICE_STREAMS:
            put(thread, lambda: sleep(1e-3))
        put(thread, action)
        while thread.track.stream in DEVICE_STREAMS and thread._num_put != thread._num_done:
            sleep(1e-4)

    monkeypatch.setattr(StreamThread, "put", put_late_or_wait)
    ran = run(fake, CASES[name])
    assert unpromised(fake.log, ran) == []


@pytest.mark.parametrize("name", ["zo2", "dual", "host_update"])
def test_without_any_one_of_its_waits_an_edge_is_lost(fake: FakeAccelerator, name: str):
    """So the proof above can fail, and no stream waits for nothing."""
    ran = run(fake, CASES[name])
    waits = fake.calls("wait_event")
    assert len(waits) > 2 * NUM_STEPS
    for call in waits:
        assert unpromised([other for other in fake.log if other is not call], ran) != []


# ---- Between devices ----


@pytest.mark.parametrize("name", ["ring of two", "ring of four, in groups"])
def test_activations_go_from_device_to_device_as_they_are_sent(fake: FakeAccelerator, name: str):
    """Each is copied on a stream of the sender, after what computed it; the receiver, before it
    computes with it, waits for the copy, and nobody else does."""
    ran = run(fake, CASES[name])
    order, peers = PromisedOrder(fake.log), peer_copies(fake.log)
    sends = [
        key for key in order.before if isinstance(key, tuple) and key[1] in senders(ran.program)
    ]
    assert len(peers) >= len(sends) > NUM_STEPS
    computed = {frozenset(worked(order.before[key])) for key in sends}
    assert {frozenset(worked(order.copies[number])) for number in peers} <= computed


def test_without_any_one_of_its_waits_an_edge_between_devices_is_lost(fake: FakeAccelerator):
    """But for those around PyTorch's own copies, of which a SEND may have many, and for what was
    over when the caller had waited for a loss."""
    ran = run(fake, CASES["ring of two"])
    own = {id(call) for call in (*barriers(fake.log), *over(fake.log))}
    waits = [call for call in fake.calls("wait_event") if id(call) not in own]
    assert len(waits) > 2 * NUM_STEPS
    for call in waits:
        assert unpromised([other for other in fake.log if other is not call], ran) != []


def worked(before: set[Hashable]) -> set[Hashable]:
    """Operations among what comes before something."""
    return {one for one in before if one[0] != "copy"}  # type: ignore[index]


def peer_copies(log: list[Call]) -> list[int]:
    """Numbers of the copies between devices: they are on streams that do nothing else."""
    streams = {call.stream for call in log if call.name == "work"}
    copies = [call for call in log if call.name == "copy_" and call.stream is not None]
    return [number for number, call in enumerate(copies) if call.stream not in streams]


def over(log: list[Call]) -> list[Call]:
    """Waits for what was recorded before the caller last waited for a loss."""
    found: list[Call] = []
    recorded, synchronised = dict[int | None, int](), -1
    for number, call in enumerate(log):
        if call.name == "record":
            recorded[call.event] = number
        elif call.name == "event.synchronize":
            synchronised = recorded[call.event]
        elif call.name == "wait_event" and recorded[call.event] <= synchronised:
            found.append(call)
    return found


def barriers(log: list[Call]) -> list[Call]:
    """The waits just before and after these."""
    found: list[Call] = []
    streams = {call.stream for call in log if call.name == "work"}
    for number, call in enumerate(log):
        if call.name == "copy_" and call.stream is not None and call.stream not in streams:
            found += [log[number - 1], log[number + 2]]
    return found


@pytest.mark.parametrize("name", ["ring of two", "whole on two", "sliced on two"])
def test_blocks_are_page_locked_once_wherever_they_go(fake: FakeAccelerator, name: str):
    run(fake, CASES["zo2"])
    alone = sorted(call.detail for call in fake.calls("cudaHostRegister"))
    fake.log.clear()
    run(fake, CASES[name])
    assert sorted(call.detail for call in fake.calls("cudaHostRegister")) == alone


def test_lanes_issue_to_the_compute_stream(fake: FakeAccelerator):
    """Each is a thread of its own, whose current stream would be the device's default one."""

    def loss_fn(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        fake.mark("head")
        loss = model_loss(model, batch)
        fake.mark("tail")
        return loss

    run(fake, CASES["zo2"], loss_fn)
    compute = {call.stream for call in fake.calls("work") if call.detail == (1, "F1")}
    lanes = [c for c in fake.calls("work") if c.detail in ("head", "tail") and c.stream is not None]
    assert len(compute) == 1
    assert {call.stream for call in lanes} == compute
    assert len(lanes) == NUM_STEPS * 2 * 2
