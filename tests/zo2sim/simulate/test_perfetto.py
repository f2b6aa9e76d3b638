"""Chrome traces: slices never overlap, arrows stay inside them, counters follow the slots."""

import json
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.machines import costs, rates
from tests.strategies import choices, shared
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Kind, Op, Stream
from zo2sim.simulate.events import simulate
from zo2sim.simulate.occupancy import Tenancy, slot_intervals, slots_in_use
from zo2sim.simulate.perfetto import chrome_trace, to_json
from zo2sim.simulate.trace import Span, Trace


def trace_of(
    plan: Plan | None = None, recipe: Recipe | None = None, *, blocks: int = 3, periods: int = 2
) -> Trace:
    program = build(Shape(num_blocks=blocks), plan or Plan(), recipe or Recipe())
    return simulate(program, costs(h2d=3, forward=4, d2h=2), rates(), periods=periods)


def events(trace: Trace, phase: str, **options: Any) -> list[dict[str, Any]]:
    document: Any = chrome_trace(trace, name="run", metadata={}, **options)
    return [event for event in document["traceEvents"] if event["ph"] == phase]


def stays(trace: Trace) -> list[tuple[int, int | None, float, float]]:
    return [(s.slot, s.unit, s.start_s, s.end_s) for s in slot_intervals(trace)]


def ticks(event: dict[str, Any], key: str = "ts") -> int:
    """Of 1/1024 microseconds, about a nanosecond each."""
    found = event[key] * 1024
    assert found == int(found)
    return int(found)


def test_a_stay_lasts_from_upload_to_the_later_of_forward_and_offload():
    assert stays(trace_of(periods=1)) == [(0, 0, 0, 7), (1, 1, 3, 11), (0, 2, 7, 15)]


def test_an_allocation_begins_the_stay():
    plan = Plan(reuse_slots=False)
    program = build(Shape(num_blocks=2), plan, Recipe())
    trace = simulate(program, costs(alloc=1, h2d=3, forward=4, d2h=2), rates(), periods=1)
    assert stays(trace) == [(0, 0, 0, 8), (1, 1, 4, 12)]


def test_slots_in_use_starts_at_zero_and_ends_empty():
    trace = trace_of(periods=1)
    assert slots_in_use(trace) == ((0, 1), (3, 2), (11, 1), (15, 0))


def test_a_resident_model_occupies_no_slot():
    assert slots_in_use(trace_of(Plan(policy=Policy.RESIDENT))) == ((0, 0),)


@given(choices() | shared())
def test_tenants_of_a_slot_never_overlap(choice: tuple[Shape, Plan, Recipe]):
    shape, plan, recipe = choice
    work = costs(h2d=3, forward=4, d2h=2, alloc=1, update=1)
    trace = simulate(build(shape, plan, recipe), work, rates(both_h2d=0.5))
    by_slot: defaultdict[tuple[int, int], list[Tenancy]] = defaultdict(list)
    for stay in slot_intervals(trace):
        by_slot[stay.device, stay.slot].append(stay)
    for tenants in by_slot.values():
        for before, after in pairwise(tenants):
            assert before.end_s <= after.start_s + 1e-9


def test_every_span_is_one_slice_with_its_operation_s_own_name():
    trace = trace_of()
    assert [e["name"] for e in events(trace, "X")] == [s.op.name for s in trace.spans]


def test_slices_say_what_they_touch():
    (upload,) = (e for e in events(trace_of(periods=1), "X") if e["name"] == "H2")
    assert (upload["ts"], upload["dur"], upload["cat"]) == (7e6, 3e6, "H2D")
    assert upload["args"] == {
        "unit": 2,
        "slot": 0,
        "step": 0,
        "lanes": "",
        "records": 0,
        "reads": ["host:2"],
        "writes": ["slot:0"],
    }


def track(event: dict[str, Any]) -> tuple[int, int]:
    return event["pid"], event["tid"]


def test_every_device_is_a_process_with_its_own_tracks_and_slots():
    trace = trace_of(Plan(devices=2))
    names = {e["pid"]: e["args"]["name"] for e in events(trace, "M") if e["name"] == "process_name"}
    assert [*names.values()] == ["run", "run, device 1"]
    tracks = [track(e) for e in events(trace, "M") if e["name"] == "thread_name"]
    shown = [str(one) for one in trace.tracks]
    assert shown[4:] == ["peer", "h2d%1", "compute%1", "d2h%1", "peer%1"]
    assert [pid for pid, _ in tracks] == [1] * 5 + [2] * 4
    assert {e["pid"] for e in events(trace, "C")} == {1, 2}


def test_streams_are_named_tracks_in_their_own_order():
    named = [e for e in events(trace_of(), "M") if e["name"] == "thread_name"]
    tracks = sorted((e["tid"], e["args"]["name"]) for e in named)
    assert [name for _, name in tracks] == ["h2d", "compute", "d2h", "host"]


@given(choices() | shared(), st.floats(1e-10, 1e-3))
def test_slices_on_a_track_never_overlap(choice: tuple[Shape, Plan, Recipe], scale: float):
    shape, plan, recipe = choice
    work = costs(h2d=scale, forward=scale / 3, d2h=scale / 7)
    trace = simulate(build(shape, plan, recipe), work, rates())
    ends: dict[tuple[int, int], float] = {}
    for event in events(trace, "X"):
        assert event["ts"] >= ends.get(track(event), 0)
        ends[track(event)] = event["ts"] + event["dur"]


def test_a_measured_overlap_is_moved_behind_the_slice_before():
    one = Op(kind=Kind.H2D, stream=Stream.H2D, unit=0)
    spans = (Span(one, 0, 0.0, 5e-9), Span(replace(one, unit=1), 0, 3e-9, 4e-9))
    first, second = events(Trace(name="t", steps_per_period=1, spans=spans), "X")
    assert (ticks(first), ticks(first, "dur")) == (0, 5)
    assert (ticks(second), ticks(second, "dur")) == (5, 0)


def arrows(trace: Trace) -> list[str]:
    """``source>target`` by the names of the slices that hold the ends of each arrow."""
    slices = events(trace, "X")

    def holder(end: dict[str, Any]) -> str:
        on_track = (e for e in slices if track(e) == track(end))
        (name,) = (e["name"] for e in on_track if 0 <= ticks(end) - ticks(e) < ticks(e, "dur"))
        return name

    ends = {e["id"]: e for e in events(trace, "f")}
    return [f"{holder(e)}>{holder(ends[e['id']])}" for e in events(trace, "s")]


def test_arrows_are_the_edges_across_streams():
    """Updates of the first step have nothing to apply, take no time, and so get no arrow."""
    program = build(Shape(num_blocks=3), Plan(), Recipe())
    work = costs(h2d=3, forward=4, d2h=2, update=1, loss=1, journal=1)
    trace = simulate(program, work, rates(), periods=2)
    first = "D0>H2 F0>H2 L>J"
    second = "D2>H0 F2>H0 H0>U0 U0>D0 H1>U1 U1>D1 D0>H2 F0>H2 H2>U2 U2>D2 J>L L>J"
    assert arrows(trace) == f"{first} {second}".split()


@given(choices() | shared(), st.floats(1e-10, 1e-3))
def test_both_ends_of_an_arrow_lie_inside_slices(choice: tuple[Shape, Plan, Recipe], scale: float):
    shape, plan, recipe = choice
    work = costs(h2d=scale, forward=scale / 3, d2h=scale / 7, update=scale / 11)
    trace = simulate(build(shape, plan, recipe), work, rates())
    inside = [(track(e), ticks(e), ticks(e) + ticks(e, "dur")) for e in events(trace, "X")]
    for end in [*events(trace, "s"), *events(trace, "f")]:
        assert any(t == track(end) and a <= ticks(end) < b for t, a, b in inside)


def test_each_arrow_has_one_start_and_one_end_that_is_not_earlier():
    trace = trace_of()
    starts = {e["id"]: ticks(e) for e in events(trace, "s")}
    ends = {e["id"]: ticks(e) for e in events(trace, "f")}
    assert starts.keys() == ends.keys()
    assert all(starts[i] <= ends[i] for i in starts)
    assert max(Counter(e["id"] for e in events(trace, "s")).values()) == 1


def test_counter_counts_bytes_of_slots():
    counted = [(e["ts"], e["args"]) for e in events(trace_of(periods=1), "C", slot_bytes=10)]
    assert counted[:2] == [(0, {"bytes": 10}), (3e6, {"bytes": 20})]
    assert counted[-1] == (15e6, {"bytes": 0})


def test_same_trace_same_text():
    texts = [to_json(trace_of(), name="run", metadata={"b": "2", "a": "1"}) for _ in range(2)]
    assert texts[0] == texts[1]
    assert list(json.loads(texts[0])["otherData"]) == ["a", "b"]


def test_infinite_times_are_refused():
    op = Op(kind=Kind.H2D, stream=Stream.H2D)
    trace = Trace(name="t", steps_per_period=1, spans=(Span(op, 0, 0.0, float("inf")),))
    with pytest.raises(OverflowError):
        to_json(trace, name="run", metadata={})
