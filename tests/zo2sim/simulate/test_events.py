"""Simulation: whole logs with integer times, followed by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.machines import costs, rates
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Kind, Op, Program, Schedule, Stream
from zo2sim.simulate import events
from zo2sim.simulate.events import simulate
from zo2sim.simulate.steady import MOST_PERIODS, PERIODS, cycles, lengths, most_periods
from zo2sim.simulate.trace import Trace
from zo2sim.simulate.work import Rates, Resource, Work


def program(plan: Plan | None = None, *, blocks: int = 3) -> Program:
    return build(Shape(num_blocks=blocks), plan or Plan(), Recipe())


def alone(*ops: Op) -> Program:
    schedule = Schedule(name="hand/period", ops=ops)
    return Program(
        prologue=schedule, period=schedule, flushing=lambda: schedule, evaluating=lambda: schedule
    )


def log(trace: Trace) -> list[tuple[str, float, float]]:
    return [(s.op.name, s.start_s, s.end_s) for s in trace.spans if s.end_s > s.start_s]


def copy(kind: Kind, amount: float, unit: int = 0) -> tuple[Op, Work]:
    down = kind is Kind.D2H
    link = Resource.LINK_D2H if down else Resource.LINK_H2D
    op = Op(kind=kind, stream=Stream.D2H if down else Stream.H2D, unit=unit)
    return op, Work(amounts={link: amount, Resource.DRAM: amount})


def run(pairs: list[tuple[Op, Work]], machine: Rates) -> list[tuple[str, float, float]]:
    works = {op.name: work for op, work in pairs}
    ops = alone(*(op for op, _ in pairs))
    return log(simulate(ops, lambda op: works[op.name], machine, periods=1))


def test_first_period_of_zo2_with_two_slots():
    trace = simulate(program(), costs(h2d=3, forward=4, d2h=2), rates(), periods=1)
    assert log(trace) == [
        ("H0", 0, 3),
        ("F0", 3, 7),
        ("D0", 3, 5),
        ("H1", 3, 6),
        ("F1", 7, 11),
        ("D1", 7, 9),
        ("H2", 7, 10),
        ("F2", 11, 15),
        ("D2", 11, 13),
    ]


def test_naive_is_the_serial_sum():
    plan = Plan(policy=Policy.NAIVE)
    trace = simulate(program(plan), costs(h2d=3, forward=4, d2h=2, update=1), rates())
    assert trace.step_s == 3 * (2 * (3 + 4) + (3 + 1 + 2))


def test_next_step_starts_uploading_before_this_one_ends():
    trace = simulate(program(blocks=4), costs(h2d=3, forward=4, d2h=2), rates(), periods=2)
    uploads = [s for s in trace.on(Stream.H2D) if s.step == 1]
    assert uploads[0].start_s < trace.losses_s[0]


def test_hidden_copies_leave_the_compute_time():
    trace = simulate(program(blocks=4), costs(h2d=3, forward=4, d2h=2), rates())
    assert trace.step_s == 16


def test_a_slow_link_takes_over():
    trace = simulate(program(blocks=4), costs(h2d=5, forward=4, d2h=2), rates())
    assert trace.step_s == 20


def test_fixed_time_comes_before_the_flow():
    op = Op(kind=Kind.H2D, stream=Stream.H2D, unit=0)
    work = Work(fixed_s=2, amounts={Resource.LINK_H2D: 6})
    assert run([(op, work)], rates(link_h2d=3)) == [("H0", 0, 4)]


def test_both_directions_slow_each_other_while_both_flow():
    """Up 4 of 12 bytes in 4 s at 1 B/s while 8 bytes go down at 2 B/s; then 8 bytes at 4 B/s."""
    machine = rates(link_h2d=4, link_d2h=4, both_h2d=1, both_d2h=2)
    pairs = [copy(Kind.H2D, 12), copy(Kind.D2H, 8)]
    assert run(pairs, machine) == [("H0", 0, 6), ("D0", 0, 4)]


def test_dram_is_divided_max_min_fair():
    """The small user keeps its 1 B/s; the large one gets the remaining 3 of its 8."""
    machine = rates(link_h2d=8, link_d2h=1, both_h2d=8, both_d2h=1, dram=4)
    pairs = [copy(Kind.H2D, 12), copy(Kind.D2H, 4)]
    assert run(pairs, machine) == [("H0", 0, 4), ("D0", 0, 4)]


def test_dram_freed_by_one_speeds_the_other():
    machine = rates(link_h2d=8, link_d2h=8, both_h2d=8, both_d2h=8, dram=4)
    pairs = [copy(Kind.H2D, 12), copy(Kind.D2H, 4)]
    assert run(pairs, machine) == [("H0", 0, 4), ("D0", 0, 2)]


def test_simulation_is_deterministic():
    def once() -> Trace:
        return simulate(program(), costs(h2d=3, forward=4, d2h=2), rates(both_h2d=0.5))

    assert once() == once()


def test_spans_start_after_their_waits():
    trace = simulate(program(), costs(h2d=3, forward=4, d2h=2, update=1), rates(both_h2d=0.5))
    ends = {(s.step, s.op.name): s.end_s for s in trace.spans}
    for span in trace.spans:
        for edge in span.op.after:
            step = span.step - 1 if edge.endswith("^") else span.step
            assert span.start_s >= ends[step, edge.removesuffix("^")]


times = st.integers(min_value=0, max_value=9)


@given(times, times, times, st.integers(min_value=1, max_value=4))
def test_time_scales_with_units(h2d: int, forward: int, d2h: int, slots: int):
    plan = Plan(num_slots=slots)
    one = simulate(program(plan), costs(h2d=h2d, forward=forward, d2h=d2h), rates())
    ten = costs(h2d=10 * h2d, forward=10 * forward, d2h=10 * d2h)
    assert simulate(program(plan), ten, rates()).makespan_s == pytest.approx(10 * one.makespan_s)


@given(times, times, times, st.sampled_from(["h2d", "forward", "d2h"]))
def test_a_faster_resource_never_slows_an_uncontended_schedule(
    h2d: int, forward: int, d2h: int, faster: str
):
    before = {"h2d": h2d, "forward": forward, "d2h": d2h}
    after = {**before, faster: before[faster] / 2}
    slow = simulate(program(), costs(**before), rates())
    fast = simulate(program(), costs(**after), rates())
    assert fast.makespan_s <= slow.makespan_s + 1e-9


@given(times, times, times, st.sampled_from([0.25, 0.5, 1.0]))
def test_bytes_are_conserved(h2d: int, forward: int, d2h: int, both: float):
    """A copy takes between its bytes at the full rate and its bytes at the both-ways rate."""
    machine = rates(both_h2d=both, both_d2h=both)
    trace = simulate(program(), costs(h2d=h2d, forward=forward, d2h=d2h), machine)
    for stream, amount in ((Stream.H2D, h2d), (Stream.D2H, d2h)):
        for span in trace.on(stream):
            assert amount - 1e-9 <= span.duration_s <= amount / both + 1e-9


def ring(devices: int, *, blocks: int = 4, **seconds: float) -> Trace:
    """Blocks that are dealt over some devices, each with two slots."""
    plan = Plan(devices=devices, num_slots=2)
    return simulate(build(Shape(num_blocks=blocks), plan, Recipe()), costs(**seconds), rates())


def test_each_device_of_a_ring_uploads_its_share_over_its_own_link():
    assert [ring(devices, blocks=8, h2d=8, d2h=1).step_s for devices in (1, 2, 4)] == [64, 32, 16]


def test_groups_of_lanes_are_on_several_devices_of_a_ring_at_once():
    """A sign takes 2 s through a block: both signs take 5 blocks of time in place of 8."""
    trace = ring(2, forward=2)
    assert trace.step_s == 2 * (4 + 1)
    assert [
        (span.op.name, span.start_s, span.end_s)
        for span in trace.spans
        if span.step == 0 and span.op.kind is Kind.FORWARD and (span.op.unit or 0) >= 0
    ] == [
        ("F0", 0, 2),
        ("F0/1", 2, 4),
        ("F1%1", 2, 4),
        ("F1%1/1", 4, 6),
        ("F2", 4, 6),
        ("F2/1", 6, 8),
        ("F3%1", 6, 8),
        ("F3%1/1", 8, 10),
    ]


def test_what_is_sent_delays_the_lanes_that_wait_for_it():
    assert ring(2, forward=2, send=1).step_s == 2 * (4 + 1) + 4


def test_a_link_is_slower_both_ways_on_its_own_device_alone():
    """Device 1 only downloads while device 0 only uploads."""
    pairs = [
        (hand(Kind.H2D, Stream.H2D), Work(amounts={Resource.LINK_H2D: 4})),
        (
            replace(hand(Kind.D2H, Stream.D2H), device=1),
            Work(amounts={Resource.LINK_D2H: 4}),
        ),
    ]
    slow = rates(both_h2d=0.5, both_d2h=0.5)
    assert run(pairs, slow) == [("H0", 0, 4), ("D0%1", 0, 4)]
    both = [(replace(op, device=0), work) for op, work in pairs]
    assert run(both, slow) == [("H0", 0, 8), ("D0", 0, 8)]


def hand(kind: Kind, stream: Stream, *after: str, unit: int = 0) -> Op:
    return Op(kind=kind, stream=stream, unit=unit, after=after)


@pytest.mark.parametrize(("devices", "periods"), [(1, 48), (2, 24)])
def test_what_never_repeats_is_averaged_over(
    devices: int, periods: int, monkeypatch: pytest.MonkeyPatch
):
    """Half of 96 periods, of which a simulation of several devices has less time for."""
    monkeypatch.setattr(events, "cycles", lambda ends: np.zeros(1))
    found = simulate(program(Plan(devices=devices)), costs(h2d=1, forward=2), rates())
    assert found.averaged_periods == periods


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_a_program_repeats_after_one_to_four_periods(length: int):
    """Its operations then end by as much later as so many periods before."""
    shifts = [1.0 + number % length for number in range(16)]
    ends = np.cumsum(shifts)[:, None, None] + np.array([0.0, 0.25])[None, :, None]
    ends[::-1][::length, 1] += 0.125  # of some operations
    assert cycles(ends).tolist() == [length if length <= 4 else 0]


def test_who_computes_sees_a_copy_end_when_it_is_woken_and_others_at_once():
    pairs = [
        (hand(Kind.H2D, Stream.H2D), Work(fixed_s=2, amounts={}, wake_s=3)),
        (hand(Kind.FORWARD, Stream.COMPUTE, "H0"), Work(fixed_s=1, amounts={})),
        (hand(Kind.D2H, Stream.D2H, "H0"), Work(fixed_s=4, amounts={})),
        (hand(Kind.H2D, Stream.H2D, unit=1), Work(fixed_s=1, amounts={}, wake_s=0.5)),
        (hand(Kind.FORWARD, Stream.COMPUTE, "H1", unit=1), Work(fixed_s=1, amounts={})),
    ]
    found = [("H0", 0, 2), ("F0", 5, 6), ("D0", 2, 6), ("H1", 2, 3), ("F1", 6, 7)]
    assert run(pairs, rates()) == found
    pairs[0] = (pairs[0][0], Work(fixed_s=2, amounts={}, wake_s=0.5))
    assert run(pairs, rates())[1] == ("F0", 2.5, 3.5), "any time counts"


def test_a_stream_goes_on_after_its_gap_and_others_at_once():
    pairs = [
        (hand(Kind.FORWARD, Stream.COMPUTE), Work(fixed_s=2, amounts={}, gap_s=3)),
        (hand(Kind.FORWARD, Stream.COMPUTE, unit=1), Work(fixed_s=1, amounts={})),
        (hand(Kind.D2H, Stream.D2H, "F0"), Work(fixed_s=1, amounts={})),
    ]
    assert run(pairs, rates()) == [("F0", 0, 2), ("F1", 5, 6), ("D0", 2, 3)]


def test_twice_as_many_periods_are_tried_each_time_up_to_the_most():
    assert [*lengths(MOST_PERIODS)] == [4, 8, 16, 32, 64]
    assert [*lengths(32)] == [4, 8, 16, 32]
    assert [*lengths(most_periods(1000))] == [PERIODS]
