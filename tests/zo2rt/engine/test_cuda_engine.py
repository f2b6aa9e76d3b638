"""The engine on `cuda` over the recorded fake: its calls imply every edge of its program."""

from collections import Counter
from dataclasses import dataclass
from time import sleep

import pytest
from torch import Tensor, nn

from tests.families import batch, build
from tests.zo2rt.backends.fake_accelerator import Call, FakeAccelerator
from tests.zo2rt.backends.promised_order import PromisedOrder
from tests.zo2rt.engine.engine_cases import CASES, Case
from zo2rt.backends import CudaBackend, Work
from zo2rt.backends.cuda import DEVICE_STREAMS
from zo2rt.backends.threads import Action, StreamThread
from zo2rt.backends.tracks import Where, track_of
from zo2rt.engine.engine import Engine, MezoSgd, Objective
from zo2rt.model.loss import LossFn, model_loss
from zo2sim.schedule.ops import Program
from zo2sim.schedule.unroll import Unrolled, unroll

NUM_STEPS = 4
OPTIMIZER = MezoSgd(lr=1e-2)


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
    return FakeAccelerator().install(monkeypatch)


class Marked(CudaBackend):
    """Every operation marks the log when it runs: the first one of a name is period 0's."""

    def __init__(self, fake: FakeAccelerator) -> None:
        super().__init__()
        self._fake = fake
        self._seen = Counter[str]()

    def launch(self, track: Where, work: Work, *, label: str) -> None:
        key = (self._seen[label], label)
        self._seen[label] += 1

        def marked() -> None:
            if track_of(track).stream not in DEVICE_STREAMS:
                self._fake.mark_start(key)
            work()
            self._fake.mark(key)

        super().launch(track, marked, label=label)


def run(fake: FakeAccelerator, case: Case, loss_fn: LossFn = model_loss) -> Run:
    model, data = build("opt"), batch("opt")
    objective = Objective(example=data, loss_fn=loss_fn)
    with Marked(fake) as backend, case.folder() as folder:
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


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_calls_of_an_engine_imply_every_edge(fake: FakeAccelerator, case: Case):
    ran = run(fake, case)
    assert unpromised(fake.log, ran) == []


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_so_they_do_where_the_caller_finds_a_thread_idle(
    fake: FakeAccelerator, case: Case, monkeypatch: pytest.MonkeyPatch
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
    ran = run(fake, case)
    assert unpromised(fake.log, ran) == []


@pytest.mark.parametrize("name", ["zo2", "dual", "host_update"])
def test_without_any_one_of_its_waits_an_edge_is_lost(fake: FakeAccelerator, name: str):
    """So the proof above can fail, and no stream waits for nothing."""
    ran = run(fake, CASES[name])
    waits = fake.calls("wait_event")
    assert len(waits) > 2 * NUM_STEPS
    for call in waits:
        assert unpromised([other for other in fake.log if other is not call], ran) != []


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
