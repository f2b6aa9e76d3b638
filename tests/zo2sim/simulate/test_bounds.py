"""Bounds: below every prediction, and the name of what binds."""

from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.machines import costs, rates
from tests.strategies import choices, shared
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Kind, Op, Program
from zo2sim.simulate.bounds import Bound, both_ways_s, bound
from zo2sim.simulate.events import simulate
from zo2sim.simulate.work import Rates, Resource, Work

times = st.integers(min_value=0, max_value=9)


def serial_s(program: Program, work_of: Callable[[Op], Work], machine: Rates) -> float:
    """One period with nothing overlapped, per step."""
    total = sum(float(work_of(op).alone_s(machine)) for op in program.period.ops)
    return total / program.period.steps


def limits(plan: Plan, blocks: int = 4, **seconds: float) -> dict[str, float]:
    program = build(Shape(num_blocks=blocks), plan, Recipe())
    return dict(bound(program, costs(**seconds), rates()).limits_s)


def test_the_busiest_stream_binds():
    assert limits(Plan(), h2d=5, forward=4, d2h=2) == {
        "link_h2d": 20,
        "compute": 16,
        "link_d2h": 8,
        "dram": 0.028,
    }


def test_one_slot_binds_by_its_round_trip():
    program = build(Shape(num_blocks=4), Plan(num_slots=1), Recipe())
    result = bound(program, costs(h2d=3, forward=4, d2h=2), rates())
    assert (result.binding, result.step_s) == ("dependencies", 4 * (3 + 4))


@pytest.mark.parametrize(
    ("limits_s", "binds"),
    [
        ({"nvme_read": 11.8446, "dependencies": 11.8456}, ("nvme_read", "dependencies")),
        ({"nvme_read": 11.6, "dependencies": 11.8456}, ("dependencies",)),
        ({"dram": 9.0, "compute": 9.9, "link_h2d": 10.0}, ("link_h2d", "compute")),
        ({"compute": 2.0, "dependencies": 2.0, "cpu": 1.97}, ("compute", "cpu", "dependencies")),
        ({}, ("nothing",)),
    ],
)
def test_what_binds_is_not_told_by_a_hair(limits_s: dict[str, float], binds: tuple[str, ...]):
    """All within 2 % of the largest, the resource first: it is what can be changed."""
    assert Bound(limits_s=limits_s).binds == binds


def test_both_ways_traffic_binds_where_the_link_halves():
    machine = rates(link_h2d=2, link_d2h=2, both_h2d=1, both_d2h=2)
    assert both_ways_s(8, 8, machine.link) == 4 + 2
    program = build(Shape(num_blocks=4), Plan(num_slots=3), Recipe())
    result = bound(program, costs(h2d=2, d2h=2, forward=0.5), machine)
    assert (result.binding, result.step_s) == ("link_both_ways", 6)
    shorter = bound(program, costs(h2d=2**-9, d2h=2**-9, forward=2**-11), machine)
    assert (shorter.binding, shorter.step_s) == ("link_both_ways", 6 * 2**-10)
    uneven = bound(program, costs(h2d=4, d2h=1, forward=0.5), machine)
    assert (uneven.binding, uneven.step_s) == ("link_both_ways", 7 + 2)


def test_dependencies_bind_however_short_they_are():
    program = build(Shape(num_blocks=4), Plan(num_slots=1), Recipe())
    long, short = (bound(program, costs(h2d=s, d2h=s, forward=s), rates()) for s in (1, 2**-9))
    assert long.binding == short.binding == "dependencies"
    assert short.step_s == long.step_s * 2**-9


def test_what_one_direction_has_left_goes_alone():
    machine = rates(link_h2d=2, link_d2h=2, both_h2d=1, both_d2h=1.5)
    assert both_ways_s(8, 6, machine.link) == 4 + (8 - 4 * 1) / 2
    assert both_ways_s(4, 9, machine.link) == 4 + (9 - 4 * 1.5) / 2


def test_both_ways_is_not_used_where_taking_turns_is_faster():
    machine = rates(link_h2d=4, link_d2h=4, both_h2d=1, both_d2h=1)
    assert both_ways_s(8, 8, machine.link) == 2 + 2


@given(choices() | shared(), times, times, times, times, st.sampled_from([0.5, 0.75, 1.0]))
def test_step_lies_between_bound_and_serial_sum(
    choice: tuple[Shape, Plan, Recipe], h2d: int, forward: int, d2h: int, update: int, both: float
):
    """The serial sum counts copies at the both-ways rate, the slowest that they can be."""
    program = build(*choice)
    work = costs(h2d=h2d, forward=forward, d2h=d2h, update=update, read=1, write=2, host_update=2)
    machine = rates(both_h2d=both, both_d2h=both)
    slowest = rates(link_h2d=both, link_d2h=both, both_h2d=both, both_d2h=both)
    step_s = simulate(program, work, machine).step_s
    assert bound(program, work, machine).step_s <= step_s + 1e-9
    assert step_s <= serial_s(program, work, slowest) + 1e-9


def test_naive_reaches_its_serial_sum():
    program = build(Shape(num_blocks=3), Plan(policy=Policy.NAIVE), Recipe())
    work = costs(h2d=3, forward=4, d2h=2, update=1, latency=1)
    step_s = simulate(program, work, rates()).step_s
    assert step_s == pytest.approx(serial_s(program, work, rates()))


def test_every_stream_has_a_limit_per_step():
    nvme = limits(Plan(tier="nvme", write_back_every=2), h2d=5, read=3, write=6, d2h=2)
    assert nvme == {
        "link_h2d": 20,
        "link_d2h": 4,
        "nvme_read": 12,
        "nvme_write": 12,
        "dram": (20 + 4) / 1000,
    }
    host = limits(Plan(policy=Policy.HOST_UPDATE), h2d=1, host_update=7)
    assert host["cpu"] == 28
    assert host["link_h2d"] == 4


def test_a_slow_dram_binds():
    program = build(Shape(num_blocks=4), Plan(num_slots=3), Recipe())
    result = bound(program, costs(h2d=2, d2h=2), rates(dram=0.5))
    assert (result.binding, result.step_s) == ("dram", 4 * (2 + 2) / 0.5)


def test_a_chain_sees_ends_late():
    """One slot: upload, then 3 s until it is seen, then forward, in turn."""
    program = build(Shape(num_blocks=4), Plan(num_slots=1), Recipe())
    plain = costs(h2d=3, forward=4)

    def work(op: Op) -> Work:
        return replace(plain(op), wake_s=3.0 if op.kind is Kind.H2D else 0.0)

    assert bound(program, work, rates()).limits_s["dependencies"] == 4 * (3 + 3 + 4)


def test_dependencies_and_both_ways_are_named_where_they_exceed_what_is_busiest():
    assert {*limits(Plan(), h2d=5, forward=4, d2h=2)} == {"link_h2d", "compute", "link_d2h", "dram"}
    assert limits(Plan(num_slots=1), h2d=3, forward=4, d2h=2)["dependencies"] == 28


def test_what_takes_no_time_has_no_limit():
    program = build(Shape(num_blocks=4), Plan(policy=Policy.RESIDENT), Recipe())
    assert dict(bound(program, costs(forward=4), rates()).limits_s) == {"compute": 16}


@pytest.mark.parametrize("name", ["peer", "far", "issue", "compute"])
def test_what_is_counted_in_seconds_takes_as_long(name: str):
    own = {key: value for key, value in asdict(rates()).items() if key != name}
    assert Work(amounts={Resource(name): 3.0}).alone_s(Rates(**own)) == 3.0


def test_the_busiest_of_several_devices_binds_and_memory_serves_them_all():
    """Three blocks on two devices: one uploads two of them, and memory six times as much."""
    program = build(Shape(num_blocks=3), Plan(devices=2), Recipe())
    result = bound(program, costs(h2d=4, d2h=4), rates(dram=10)).limits_s
    assert result == {"link_h2d": 8, "link_d2h": 8, "dram": 6 * 4 / 10}


def test_copies_between_devices_have_a_limit():
    program = build(Shape(num_blocks=4), Plan(devices=2), Recipe())
    result = bound(program, costs(send=5), rates())
    assert result.limits_s["peer"] == 2 * 2 * 5
    assert "copies between devices" in Bound(limits_s={"peer": 1.0}).words
