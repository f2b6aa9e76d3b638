"""Several devices: links, uplinks, sockets' memory and one interpreter, followed by hand."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.machines import rates
from tests.thorough import examples
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Buffer, BufferSpace, Kind, Op, Program, Schedule, Stream
from zo2sim.simulate.bounds import BOTH_WAYS, UPLINK, bound
from zo2sim.simulate.events import simulate
from zo2sim.simulate.sharing import Pool, Shared, draws
from zo2sim.simulate.work import Rates, Resource, Sharing, TwoWays, Work

FULL = TwoWays(h2d=2.0, d2h=2.0, both_h2d=2.0, both_d2h=2.0)
HALF = TwoWays(h2d=2.0, d2h=2.0, both_h2d=1.0, both_d2h=2.0)
PAIRS = Sharing(
    uplinks=(0, 0, 1, 1), sockets=(0, 0, 1, 1), link=FULL, uplink=FULL, socket_dram=100.0
)
LOSS = Op(kind=Kind.LOSS, stream=Stream.COMPUTE)
Job = tuple[Op, Work]


def machine(sharing: Sharing = PAIRS, **changes: float) -> Rates:
    return dataclasses.replace(
        rates(link_h2d=2, link_d2h=2, both_h2d=2, both_d2h=2, **changes), sharing=sharing
    )


def up(device: int, nbytes: float = 4.0) -> Job:
    op = Op(kind=Kind.H2D, stream=Stream.H2D, unit=0, device=device)
    return op, Work(amounts={Resource.LINK_H2D: nbytes, Resource.DRAM: nbytes})


def down(device: int, nbytes: float = 4.0) -> Job:
    op = Op(kind=Kind.D2H, stream=Stream.D2H, unit=0, device=device)
    return op, Work(amounts={Resource.LINK_D2H: nbytes, Resource.DRAM: nbytes})


def forward(device: int, seconds: float, issue_s: float) -> Job:
    op = Op(kind=Kind.FORWARD, stream=Stream.COMPUTE, unit=0, device=device, lanes="+")
    return op, Work(amounts={Resource.COMPUTE: seconds, Resource.ISSUE: issue_s})


def hop(sender: int, receiver: int, nbytes: float = 2.0) -> Job:
    """Through the host: down from one device, up to the other one."""
    hidden = (Buffer(BufferSpace.ACTIVATIONS, 0, device) for device in (sender, receiver))
    read, written = hidden
    op = Op(
        kind=Kind.SEND,
        stream=Stream.PEER,
        unit=0,
        device=receiver,
        lanes="+",
        reads=(read,),
        writes=(written,),
    )
    amounts = {Resource.PEER: 1.0, Resource.LINK_H2D: nbytes, Resource.LINK_D2H: nbytes}
    return op, Work(amounts=amounts)


def ends(*jobs: Job, on: Rates | None = None) -> dict[str, float]:
    program, works = alone(*jobs)
    trace = simulate(program, lambda op: works[op.name], on or machine(), periods=1)
    return {span.op.name: span.end_s for span in trace.spans if span.op.name != LOSS.name}


def alone(*jobs: Job) -> tuple[Program, dict[str, Work]]:
    """All at once, and again when all have ended."""
    ops = tuple(dataclasses.replace(op, after=(f"{LOSS.name}^",)) for op, _ in jobs)
    loss = dataclasses.replace(LOSS, after=tuple(op.name for op in ops))
    schedule = Schedule(name="hand/period", ops=(*ops, loss))
    program = Program(
        prologue=schedule, period=schedule, flushing=lambda: schedule, evaluating=lambda: schedule
    )
    return program, {**{op.name: work for op, work in jobs}, LOSS.name: Work(amounts={})}


def test_two_devices_behind_one_uplink_take_twice_as_long():
    assert ends(up(0)) == {"H0": 2}
    assert ends(up(0), up(1)) == {"H0": 4, "H0%1": 4}
    assert ends(up(0), up(2)) == {"H0": 2, "H0%2": 2}


def test_who_ends_first_leaves_the_uplink_to_the_other_one():
    assert ends(up(0, 2), up(1, 4)) == {"H0": 2, "H0%1": 3}


def test_an_uplink_is_slower_both_ways_whoever_goes_the_other_way():
    slower = dataclasses.replace(PAIRS, uplink=HALF)
    assert ends(up(0), down(1), on=machine(slower)) == {"H0": 3, "D0%1": 2}
    assert ends(up(0), down(2), on=machine(slower)) == {"H0": 2, "D0%2": 2}


def test_a_device_s_own_link_is_slower_both_ways_for_itself_alone():
    slower = dataclasses.replace(PAIRS, uplinks=(0, 1, 2, 3), link=HALF)
    assert ends(up(0), down(0), on=machine(slower)) == {"H0": 3, "D0": 2}
    assert ends(up(0), down(1), on=machine(slower)) == {"H0": 2, "D0%1": 2}


def test_each_socket_has_memory_of_its_own():
    short = dataclasses.replace(PAIRS, uplinks=(0, 1, 2, 3), socket_dram=2.0)
    assert ends(up(0), up(1), on=machine(short)) == {"H0": 4, "H0%1": 4}
    assert ends(up(0), up(2), on=machine(short)) == {"H0": 2, "H0%2": 2}


def test_a_way_through_the_host_slows_the_upload_beside_it():
    """The receiver's upload and the hop share its link; the sender's download shares that one's."""
    apart = dataclasses.replace(PAIRS, uplinks=(0, 1, 2, 3))
    assert ends(hop(0, 1), on=machine(apart)) == {"X0%1": 1}
    assert ends(hop(0, 1), up(1), on=machine(apart)) == {"X0%1": 2, "H0%1": 3}
    assert ends(hop(0, 1), up(0), on=machine(apart)) == {"X0%1": 1, "H0": 2}
    assert ends(hop(0, 1), down(0), on=machine(apart)) == {"X0%1": 2, "D0": 3}


def test_one_interpreter_issues_the_launches_of_all_devices():
    """Kernels of 4 s that take 3 s to launch: two devices wait for it, one does not."""
    assert ends(forward(0, 4, 3)) == {"F0": 4}
    assert ends(forward(0, 4, 3), forward(1, 4, 3)) == {"F0": 6, "F0%1": 6}
    assert ends(forward(0, 4, 1), forward(1, 4, 1)) == {"F0": 4, "F0%1": 4}


def test_what_the_host_does_it_does_to_blocks_of_all_sockets():
    op = Op(kind=Kind.HOST_UPDATE, stream=Stream.HOST, unit=0, records=1)
    drawn = draws(op, Work(amounts={Resource.DRAM: 8.0, Resource.CPU: 1.0}), PAIRS)
    assert drawn == {Pool(Shared.DRAM, 0): 4.0, Pool(Shared.DRAM, 1): 4.0}


# Bounds

devices = st.integers(0, 3)
sizes = st.floats(0.5, 9.0)
jobs = st.one_of(
    st.builds(up, devices, sizes),
    st.builds(down, devices, sizes),
    st.builds(forward, devices, sizes, sizes),
    st.builds(lambda a, b, n: hop(a, (a + b) % 4, n), devices, st.integers(1, 3), sizes),
)
laws = st.builds(
    lambda h, d, a, b: TwoWays(h2d=h, d2h=d, both_h2d=h * a, both_d2h=d * b),
    *(st.floats(1.0, 4.0),) * 2,
    *(st.floats(0.3, 1.0),) * 2,
)


@given(st.lists(jobs, min_size=1, max_size=10, unique_by=lambda job: job[0].name), laws, laws)
@settings(max_examples=examples(30), deadline=None)
def test_no_step_is_under_its_bound(jobs: list[Job], link: TwoWays, uplink: TwoWays):
    sharing = dataclasses.replace(PAIRS, link=link, uplink=uplink, socket_dram=5.0)
    on = dataclasses.replace(
        machine(sharing),
        link_h2d=link.h2d,
        link_d2h=link.d2h,
        both_h2d=link.both_h2d,
        both_d2h=link.both_d2h,
    )
    program, works = alone(*jobs)
    found = bound(program, lambda op: works[op.name], on)
    trace = simulate(program, lambda op: works[op.name], on)
    assert trace.step_s >= found.step_s * (1 - 1e-9)


def test_what_is_shared_has_a_limit_per_step():
    """A period of two steps uploads twice."""
    limits = [
        bound(
            build(Shape(num_blocks=2), Plan(devices=2, write_back_every=k), Recipe()),
            lambda op: up(op.device)[1] if op.kind is Kind.H2D else Work(amounts={}),
            machine(),
        ).limits_s[UPLINK]
        for k in (1, 2)
    ]
    assert limits == [4.0, 4.0]


def test_the_uplink_is_named_where_it_binds():
    program, works = alone(up(0), up(1), up(2, 1.0))
    found = bound(program, lambda op: works[op.name], machine())
    assert found.binds == (UPLINK,)
    assert found.words == ("the uplink that devices share",)
    assert found.limits_s[UPLINK] == pytest.approx(4.0)
    assert BOTH_WAYS not in found.limits_s
    program, works = alone(up(0, 16.0), down(1))  # 2 s both ways, then 14 bytes up
    slower = machine(dataclasses.replace(PAIRS, uplink=HALF))
    assert bound(program, lambda op: works[op.name], slower).limits_s[UPLINK] == 9.0
