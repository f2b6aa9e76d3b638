"""The race detector: what it must report, and that it can fail: edges are deleted."""

from collections.abc import Iterator, Sequence
from threading import Thread

import pytest
import torch

from tests.thorough import some_of
from tests.zo2rt.backends.fake_accelerator import FakeAccelerator
from tests.zo2rt.steps.tiny_executor import execute, in_issue_order, whole_run
from zo2rt.backends import Backend, CudaBackend, Event, HostBackend, VirtualBackend
from zo2rt.races.backend import Checked
from zo2rt.races.detector import Access, RaceDetector, RaceFound
from zo2rt.races.watch import TouchedTensors
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.policies import Shape
from zo2sim.schedule.ops import Buffer, BufferSpace, Stream
from zo2sim.schedule.unroll import Unrolled
from zo2sim.schedule.verify import races

H2D, COMPUTE, D2H = Stream.H2D, Stream.COMPUTE, Stream.D2H
SLOT = Buffer(BufferSpace.SLOT, 1)


def event() -> Event:
    return Event(H2D, None)


def pair(*, ordered: bool) -> tuple[RaceDetector, Access, Access]:
    """A detector, and one operation on each of two streams."""
    detector, end = RaceDetector(), event()
    first = detector.on_launch(H2D, "H0")
    detector.on_record(H2D, end)
    if ordered:
        detector.on_wait(COMPUTE, end)
    return detector, first, detector.on_launch(COMPUTE, "F0")


# ---- Vector clocks ----


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ("writes", "reads", "read-after-write"),
        ("reads", "writes", "write-after-read"),
        ("writes", "writes", "write-after-write"),
    ],
)
def test_an_unordered_pair_is_reported_with_both_operations(first: str, second: str, kind: str):
    detector, one, two = pair(ordered=False)
    detector.touches(one, **{first: (SLOT,)})
    detector.touches(two, **{second: (SLOT,)})
    assert [str(race) for race in detector.races] == [
        f"{kind} race on slot:1: F0 (compute, its operation 0) is not ordered after "
        f"H0 (h2d, its operation 0); make F0 wait for H0"
    ]
    with pytest.raises(RaceFound, match="make F0 wait for H0"):
        detector.check()


def test_reads_do_not_race_and_other_places_do_not_matter():
    detector, one, two = pair(ordered=False)
    detector.touches(one, reads=("a", "b"), writes=("c",))
    detector.touches(two, reads=("a", "b"), writes=("d",))
    assert detector.races == ()


def test_a_wait_orders():
    detector, one, two = pair(ordered=True)
    detector.touches(one, writes=(SLOT,))
    detector.touches(two, reads=(SLOT,), writes=(SLOT,))
    detector.check()


def test_an_operation_does_not_race_with_itself_or_its_stream():
    detector = RaceDetector()
    for access in (detector.on_launch(H2D, "H0"), detector.on_launch(H2D, "H1")):
        detector.touches(access, reads=(SLOT,), writes=(SLOT,))
        detector.touches(access, reads=(SLOT,), writes=(SLOT,))
    detector.check()


def test_order_is_transitive():
    detector, ends = RaceDetector(), [event(), event()]
    first = detector.on_launch(H2D, "H0")
    detector.on_record(H2D, ends[0])
    detector.on_wait(COMPUTE, ends[0])
    detector.on_record(COMPUTE, ends[1])
    detector.on_wait(D2H, ends[1])
    detector.touches(first, writes=(SLOT,))
    detector.touches(detector.on_launch(D2H, "D0"), reads=(SLOT,))
    detector.check()


def test_a_wait_orders_only_what_comes_after_it_and_was_recorded_before():
    detector, end = RaceDetector(), event()
    detector.on_record(H2D, end)
    late = detector.on_launch(H2D, "late")
    early = detector.on_launch(COMPUTE, "early")
    detector.on_wait(COMPUTE, end)
    after = detector.on_launch(COMPUTE, "after")
    detector.touches(late, writes=(SLOT,))
    detector.touches(early, reads=(SLOT,))
    detector.touches(after, reads=(SLOT,))
    assert [(r.first.label, r.second.label) for r in detector.races] == [
        ("late", "early"),
        ("late", "after"),
    ]


def test_a_wait_takes_the_recording_of_its_own_time():
    detector, end = RaceDetector(), event()
    detector.on_record(H2D, end)
    detector.on_wait(COMPUTE, end)
    first = detector.on_launch(H2D, "H0")
    detector.on_record(H2D, end)
    detector.touches(first, writes=(SLOT,))
    detector.touches(detector.on_launch(COMPUTE, "F0"), reads=(SLOT,))
    assert len(detector.races) == 1


def test_a_caller_that_synchronizes_orders_what_it_launches_next():
    for whole in (True, False):
        detector, end = RaceDetector(), event()
        first = detector.on_launch(H2D, "H0")
        detector.on_record(H2D, end)
        detector.on_synchronize(None if whole else end)
        detector.touches(first, writes=(SLOT,))
        detector.touches(detector.on_launch(COMPUTE, "F0"), reads=(SLOT,))
        detector.check()


# ---- What work touches in fact ----


def touched(function: object, *tensors: torch.Tensor) -> tuple[set[int], set[int]]:
    """Positions of the tensors that a function of PyTorch reads and writes."""
    reads, writes = set[int](), set[int]()

    def report(read: tuple[torch.Tensor, ...], written: tuple[torch.Tensor, ...]) -> None:
        for found, seen in ((reads, read), (writes, written)):
            found |= {i for i, t in enumerate(tensors) for s in seen if s is t}

    with TouchedTensors(report):
        function(*tensors)  # type: ignore[operator]
    return reads, writes


def test_operators_report_what_they_read_and_write():
    a, b, c = torch.zeros(4), torch.ones(4), torch.ones(4)
    assert touched(lambda a, b, c: torch.add(a, b, out=c), a, b, c) == ({0, 1}, {2})
    assert touched(lambda a, b: a.copy_(b), a, b) == ({1}, {0})
    assert touched(lambda a, b: torch.cat([a, b]), a, b) == ({0, 1}, set())
    assert touched(lambda a: a.mul_(2), a) == (set(), {0})
    foreach = torch.ops.aten._foreach_add_.Scalar
    assert touched(lambda a: foreach([a], 1.0), a) == (set(), {0})


def test_views_and_shapes_read_nothing():
    a = torch.zeros(4)
    looks = (lambda a: a[1:3], torch.empty_like, lambda a: a.view(2, 2), torch.zeros_like)
    assert [touched(look, a) for look in looks] == [(set(), set())] * len(looks)


@pytest.fixture(params=["host", "virtual", "cuda, fake"])
def checked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Checked]:
    with Checked(open_plain(request.param, monkeypatch)) as backend:
        yield backend


def open_plain(name: str, monkeypatch: pytest.MonkeyPatch) -> Backend:
    if name == "cuda, fake":
        FakeAccelerator().install(monkeypatch)
        return CudaBackend()
    return HostBackend() if name == "host" else VirtualBackend()


def test_work_is_watched_where_it_runs(checked: Checked):
    slot = checked.device_buffer(64)
    checked.launch(H2D, lambda: _fill(slot), label="H0")
    checked.launch(COMPUTE, lambda: _sum(slot[8:]), label="F0")
    with pytest.raises(RaceFound, match=r"race on device buffer 0: .*(F0|H0)"):
        checked.synchronize()


def _fill(tensor: torch.Tensor) -> None:
    tensor.fill_(1)


def _sum(tensor: torch.Tensor) -> None:
    tensor.sum()


def test_copies_are_watched(checked: Checked):
    slot, block = checked.device_buffer(64), checked.host_buffer(64)
    checked.copy(H2D, slot, block, label="H0")
    checked.copy(D2H, block, slot, label="D0")
    with pytest.raises(RaceFound) as caught:
        checked.timings()
    assert "device buffer 0" in str(caught.value)
    assert "host buffer 1" in str(caught.value)


def test_parts_that_were_named_are_places_of_their_own(checked: Checked):
    arena = checked.device_buffer(512)
    for number in range(2):
        checked.name(arena[number * 256 :][:256], Buffer(BufferSpace.SLOT, number))
    checked.launch(H2D, lambda: _fill(arena[:256]), label="H0")
    checked.launch(COMPUTE, lambda: _fill(arena[256:]), label="F1")
    checked.synchronize()
    checked.launch(H2D, lambda: _fill(arena[200:300]), label="both")
    checked.launch(COMPUTE, lambda: _sum(arena[256:]), label="F1")
    with pytest.raises(RaceFound, match="race on slot:1"):
        checked.synchronize()


def test_what_pytorch_does_not_see_is_reported_by_hand(checked: Checked):
    slot = checked.device_buffer(64)
    checked.launch(H2D, lambda: checked.touch(writes=(slot,)), label="H0")
    checked.launch(COMPUTE, lambda: checked.touch(reads=(slot,)), label="F0")
    with pytest.raises(RaceFound, match="device buffer 0"):
        checked.synchronize()
    with pytest.raises(RuntimeError, match="report them from launched work"):
        checked.touch(reads=(slot,))


def test_what_is_no_tensor_is_touched_by_its_name(checked: Checked):
    record = Buffer(BufferSpace.RECORD, 3)
    checked.launch(COMPUTE, lambda: checked.touch(writes=(record,)), label="L")
    checked.launch(D2H, lambda: checked.touch(reads=(record,)), label="C0")
    with pytest.raises(RaceFound, match="race on record:3"):
        checked.synchronize()


def test_where_nobody_watches_nobody_is_told():
    with HostBackend() as backend:
        backend.launch(H2D, lambda: backend.touch(writes=(torch.zeros(1),)), label="H0")
        backend.synchronize()


def test_a_thread_that_helps_is_watched_too(checked: Checked):
    slot = checked.device_buffer(64)

    def forward() -> None:
        access = checked.current
        lane = Thread(target=lane_of, args=(access,))
        lane.start()
        lane.join()

    def lane_of(access: Access) -> None:
        with checked.on_behalf_of(access):
            _sum(slot)

    checked.launch(H2D, lambda: _fill(slot), label="H0")
    checked.launch(COMPUTE, forward, label="F0")
    with pytest.raises(RaceFound, match="F0"):
        checked.synchronize()


def test_a_caller_that_polled_may_go_on(checked: Checked):
    slot = checked.device_buffer(64)
    checked.launch(H2D, lambda: _fill(slot), label="H0")
    end = checked.record(H2D)
    while not checked.query(end):
        pass
    checked.launch(COMPUTE, lambda: _sum(slot), label="F0")
    checked.synchronize()


# ---- Proved able to fail: deleted edges ----


def named(choice: tuple[Plan, Recipe]) -> str:
    plan = choice[0]
    return f"{plan.policy}" + f", {plan.placement} on {plan.devices}" * (plan.devices > 1)


SMALL = [
    (Plan(policy=Policy.ZO2), Recipe()),
    (Plan(policy=Policy.ZO2, num_slots=1, write_back_every=2), Recipe()),
    (Plan(policy=Policy.ZO2, tier="nvme"), Recipe()),
    (Plan(policy=Policy.ZO2, num_slots=3, reuse_slots=False), Recipe(perturbation="in_place")),
    (Plan(policy=Policy.RESIDENT), Recipe()),
    (Plan(policy=Policy.DUAL, num_slots=1), Recipe()),
    (Plan(policy=Policy.HOST_UPDATE), Recipe()),
    (Plan(devices=2), Recipe()),
    (Plan(devices=2, placement="whole"), Recipe()),
    (Plan(devices=2, placement="sliced"), Recipe()),
]


def mutants(unrolled: tuple[Unrolled, ...]) -> Iterator[tuple[str, tuple[Unrolled, ...]]]:
    """The program less one edge between streams, for every edge."""
    for index, item in enumerate(unrolled):
        for dep in item.deps:
            if dep != item.track_prev:
                cut = item._replace(deps=tuple(d for d in item.deps if d != dep))
                name = f"{item.name} of period {item.period} <- {unrolled[dep].name}"
                yield name, (*unrolled[:index], cut, *unrolled[index + 1 :])


def some_mutants(unrolled: tuple[Unrolled, ...]) -> Sequence[tuple[str, tuple[Unrolled, ...]]]:
    """One in eleven, all operations in turn, where not all are wanted."""
    return some_of([*mutants(unrolled)], every=11)


def on(unrolled: tuple[Unrolled, ...], seed: int = 0) -> VirtualBackend:
    """A backend with as many devices as there are."""
    return VirtualBackend(seed, devices=1 + max(item.op.device for item in unrolled))


def is_reported(backend: Backend, unrolled: tuple[Unrolled, ...]) -> bool:
    with Checked(backend) as checked:
        try:
            execute(checked, unrolled)
        except RaceFound:
            return True
    return False


def bits_differ(unrolled: tuple[Unrolled, ...], expected: object, num_seeds: int) -> bool:
    runs = (execute(on(unrolled, seed), unrolled) for seed in range(num_seeds))
    return any(run != expected for run in runs)


@pytest.mark.parametrize("choice", SMALL, ids=named)
def test_the_detector_reports_a_deleted_edge_whenever_the_verifier_does(
    choice: tuple[Plan, Recipe],
):
    unrolled = whole_run(Shape(num_blocks=2), *choice)
    assert not is_reported(on(unrolled), unrolled)
    verdicts = [
        (name, any(races(mutant)), is_reported(on(mutant), mutant))
        for name, mutant in some_mutants(unrolled)
    ]
    assert [name for name, expected, found in verdicts if expected != found] == []
    assert any(found for _, _, found in verdicts) or choice[0].policy is Policy.RESIDENT


@pytest.mark.parametrize("choice", SMALL[:1], ids=named)
@pytest.mark.parametrize("name", ["host", "cuda, fake"])
def test_every_backend_under_test_reports_it(
    choice: tuple[Plan, Recipe], name: str, monkeypatch: pytest.MonkeyPatch
):
    unrolled = whole_run(Shape(num_blocks=2), *choice)
    for cut, mutant in some_mutants(unrolled):
        found = is_reported(open_plain(name, monkeypatch), mutant)
        assert found == any(races(mutant)), cut
        monkeypatch.undo()


@pytest.mark.parametrize("choice", SMALL, ids=named)
def test_a_deleted_edge_changes_the_bits_for_some_seed(choice: tuple[Plan, Recipe]):
    """Three blocks a device: with two, one may come back to its own slot, whose bytes are right.

    Most show within a few orders; a journal that a whole step overtakes, in one of a thousand.
    """
    plan = choice[0]
    owners = plan.devices if plan.placement == "ring" else 1
    unrolled = whole_run(Shape(num_blocks=3 * owners), *choice)
    expected = in_issue_order(unrolled)
    essential = [(name, m) for name, m in some_mutants(unrolled) if any(races(m))]
    unseen = [name for name, m in essential if not bits_differ(m, expected, 1250)]
    assert unseen == []
