"""The race verifier, against messages in full and against an oracle that tries every order."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import choices, schedules, shared
from tests.thorough import examples, some_of
from tests.zo2sim.schedule.handmade import program, schedule
from tests.zo2sim.schedule.oracle import Observation, first_violation
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.refusals import refusal
from zo2sim.policies import Layout, Shape, build
from zo2sim.schedule.ops import Op, Program, Schedule
from zo2sim.schedule.unroll import Unrolled, chain, unroll
from zo2sim.schedule.verify import happens_before, races, verify

# ---- By hand ----

STREAMED = """
    H1 h2d reads host:1 writes slot:1 after D1^
    F1 compute reads slot:1 after H1
    D1 d2h reads slot:1 writes host:1 after F1
"""


def found(*lines: str) -> list[str]:
    """The races of a handmade schedule, in words."""
    return [str(hazard) for hazard in races(unroll(schedule(*lines)))]


def kinds(*lines: str) -> list[str]:
    return [hazard.kind for hazard in races(unroll(schedule(*lines)))]


def test_a_slot_in_turn_is_clean():
    assert verify(program(STREAMED), num_slots=2) == ()


def test_a_read_before_the_upload_has_written():
    assert found("H1 h2d writes slot:0", "F1 compute reads slot:0") == [
        "RAW hazard on slot:0: F1 (compute, step 0) may read slot:0 before H1 (h2d, step 0) "
        "has written it; add the edge F1 <- H1"
    ]


def test_an_upload_over_a_slot_that_is_still_read():
    lines = ("H1 h2d writes slot:1", "F1 compute reads slot:1 after H1", "H3 h2d writes slot:1")
    assert found(*lines) == [
        "WAR hazard on slot:1: H3 (h2d, step 0) may overwrite slot:1 before F1 (compute, step 0) "
        "has read it; add the edge H3 <- F1"
    ]


def test_two_writes_must_be_ordered_even_if_nobody_reads_in_between():
    assert found("H0 h2d writes slot:0", "F0 compute writes slot:0") == [
        "WAW hazard on slot:0: F0 (compute, step 0) may write slot:0 before H0 (h2d, step 0) "
        "has, whose content would then stay; add the edge F0 <- H0"
    ]


def test_the_next_period_may_overtake_this_one():
    assert [str(h) for h in verify(program(STREAMED.replace("after D1^", "")))] == [
        "RAW hazard on host:1: H1 (h2d, step 1) may read host:1 before D1 (d2h, step 0) has "
        "written it; add the edge H1 <- D1^",
        "WAR hazard on slot:1: H1 (h2d, step 1) may overwrite slot:1 before F1 (compute, step 0) "
        "has read it; add the edge H1 <- F1^",
    ]


def test_what_no_single_edge_can_order_is_said():
    first, last = schedule("H0 h2d writes slot:0"), schedule("F0 compute reads slot:0")
    assert [hazard.words for hazard in races(chain((first, schedule(), last)))] == [
        "F0 (compute, step 2) may read slot:0 before H0 (h2d, step 0) has written it; "
        "no edge reaches 2 periods back: add a path of edges from H0 to F0"
    ]


def test_an_order_through_a_third_operation_counts():
    assert (
        kinds("H0 h2d writes slot:0", "D0 d2h after H0", "F0 compute reads slot:0 after D0") == []
    )


def test_an_order_along_a_stream_counts():
    assert kinds("H0 h2d writes slot:0", "H1 h2d", "F0 compute reads slot:0 after H1") == []


def test_two_reads_need_no_order():
    assert kinds("F0 compute reads slot:0", "D0 d2h reads slot:0") == []


def test_an_update_of_what_is_still_uploaded_is_one_hazard():
    assert kinds("H0 h2d writes slot:0", "U0 compute reads slot:0 writes slot:0") == ["RAW"]


def test_every_reader_is_waited_for():
    readers = ("F0 compute reads slot:0", "D0 d2h reads slot:0")
    assert kinds(*readers, "H0 h2d writes slot:0 after F0") == ["WAR"]


def test_a_pair_that_races_in_every_period_is_reported_once():
    racy = program("H1 h2d writes slot:0 after F1^\nF1 compute reads slot:0")
    assert [h.kind for h in verify(racy, periods=5)] == ["RAW"]


def test_flush_and_evaluation_are_checked_by_themselves():
    racy = "H7 h2d writes slot:0\nF7 compute reads slot:0"
    assert [h.second.name for h in verify(program("F0 compute", flush=racy))] == ["F7"]
    assert [h.second.name for h in verify(program("F0 compute", evaluate=racy))] == ["F7"]


def test_a_slot_that_the_plan_does_not_have():
    assert [str(h) for h in verify(program(STREAMED), num_slots=1)] == [
        f"capacity hazard on slot:1: {op}1 ({stream}, step 0) uses slot:1, but the plan has 1 "
        "(slot:0 to slot:0); use a lower slot or raise num_slots"
        for op, stream in (("H", "h2d"), ("F", "compute"), ("D", "d2h"))
    ]


def test_a_slot_that_an_operation_names_and_does_not_touch():
    assert [h.kind for h in verify(program("F0 compute slot=1"), num_slots=1)] == ["capacity"]
    assert verify(program("F0 compute slot=1"), num_slots=2) == ()


def test_a_clock_counts_what_has_surely_ended_on_every_stream():
    clocks = happens_before(unroll(schedule("H0 h2d", "H1 h2d", "F0 compute after H0")))
    assert [clock[:2] for clock in clocks] == [(1, 0), (2, 0), (1, 1)]


# ---- The oracle ----


def test_the_oracle_names_what_went_wrong():
    lines = ("H1 h2d writes slot:1", "F1 compute reads slot:1 after H1", "H3 h2d writes slot:1")
    assert first_violation(unroll(schedule(*lines))) == Observation(
        "F1 of period 0", expected="H1 of period 0", observed="H3 of period 0"
    )


def test_the_oracle_minds_two_writes_that_nobody_reads_between():
    swapped = unroll(schedule("H0 h2d writes slot:0", "F0 compute writes slot:0"))
    assert first_violation(swapped) is not None


def legal_orders(unrolled: tuple[Unrolled, ...]) -> Iterator[tuple[int, ...]]:
    for order in permutations(range(len(unrolled))):
        place = {op: i for i, op in enumerate(order)}
        if all(place[dep] < place[op] for op in order for dep in unrolled[op].deps):
            yield order


def observations(unrolled: tuple[Unrolled, ...], order: tuple[int, ...]) -> set[object]:
    """Who sees whose content: reads the content read, writes the content replaced."""
    content: dict[object, int] = {}
    seen: set[object] = set()
    for op in order:
        accesses = {*unrolled[op].op.reads, *unrolled[op].op.writes}
        seen |= {(op, buffer, content.get(buffer)) for buffer in accesses}
        content |= dict.fromkeys(unrolled[op].op.writes, op)
    return seen


@given(schedules(max_ops=5))
@settings(deadline=None)
def test_the_oracle_misses_no_order(random: Schedule):
    unrolled = unroll(random)
    outcomes = [observations(unrolled, order) for order in legal_orders(unrolled)]
    safe = all(outcome == outcomes[0] for outcome in outcomes)
    assert (first_violation(unrolled) is None) == safe


# ---- Verifier and oracle agree ----


@given(schedules(), st.integers(1, 3))
@settings(max_examples=examples(200), deadline=None)
def test_verifier_and_oracle_agree_on_random_schedules(random: Schedule, periods: int):
    unrolled = unroll(random, periods=periods)
    assert (next(races(unrolled), None) is None) == (first_violation(unrolled) is None)


@given(schedules())
@settings(deadline=None)
def test_the_edges_that_the_reports_ask_for_are_enough(random: Schedule):
    unrolled = unroll(random, periods=2)
    index = {(item.name, item.period): i for i, item in enumerate(unrolled)}
    for hazard in list(races(unrolled)):
        assert hazard.first is not None
        second = index[hazard.second.name, hazard.second.period]
        deps = (*unrolled[second].deps, index[hazard.first.name, hazard.first.period])
        repaired = unrolled[second]._replace(deps=deps)
        unrolled = (*unrolled[:second], repaired, *unrolled[second + 1 :])
    assert first_violation(unrolled) is None


RECIPES = (
    Recipe(),
    Recipe(wire_dtype=Dtype.FP8),
    Recipe(trainable="lora:2"),
    Recipe(perturbation="in_place"),
)


def small_plans(policy: Policy) -> Iterator[tuple[Plan, Recipe]]:
    """Every axis that changes an edge, for three blocks; one switch of `zo2` off at a time."""
    for num_slots, every, resident in product((1, 2), (1, 2), (0, 1)):
        placed = Plan(
            policy=policy,
            num_slots=num_slots,
            write_back_every=every,
            resident_blocks=resident,
        )
        for plan in (placed, replace(placed, tier="nvme")):
            ablations = (
                replace(plan, overlap=False),
                replace(plan, reuse_slots=False),
                replace(plan, deferred_update=False),
            )
            pairs = (*product((plan,), RECIPES), *product(ablations, RECIPES[:1]))
            yield from (pair for pair in pairs if refusal(*pair) is None)


def without_edge(part: Schedule, index: int, edge: str) -> Schedule:
    op = part.ops[index]
    cut = replace(op, after=tuple(e for e in op.after if e != edge))
    return replace(part, ops=(*part.ops[:index], cut, *part.ops[index + 1 :]))


def mutants(whole: Program) -> Iterator[tuple[str, tuple[Unrolled, ...]]]:
    """The program less one edge, for every edge of every part."""
    periods = 3 if whole.period.steps == 1 else 2
    for part in ("prologue", "period", "flush", "evaluate"):
        original: Schedule = getattr(whole, part)
        for index, edge in ((i, edge) for i, op in enumerate(original.ops) for edge in op.after):
            cut = without_edge(original, index, edge)
            if part in ("prologue", "period"):
                unrolled = unroll(replace(whole, **{part: cut}), periods=periods)
            else:
                unrolled = unroll(cut)
            yield f"{part} {original.ops[index].name} <- {edge}", unrolled


@pytest.mark.parametrize("policy", Policy)
def test_a_deleted_edge_matters_to_both_or_to_neither(policy: Policy):
    disagreements: list[str] = []
    harmful = 0
    for plan, recipe in some_of([*small_plans(policy)], every=3):
        for which, unrolled in mutants(build(Shape(num_blocks=3), plan, recipe)):
            reported, real = any(races(unrolled)), first_violation(unrolled) is not None
            harmful += real
            if reported != real:
                disagreements.append(f"{which} in {plan} with {recipe}")
    assert disagreements == []
    assert harmful > 0


# ---- Every plan ----


def slots_of(shape: Shape, plan: Plan, recipe: Recipe) -> int:
    return Layout(shape=shape, plan=plan, recipe=recipe).num_slots


@given(choices() | shared())
@settings(max_examples=examples(200), deadline=None)
def test_every_plan_is_free_of_hazards(choice: tuple[Shape, Plan, Recipe]):
    whole = build(*choice)
    assert [str(h) for h in verify(whole, num_slots=slots_of(*choice))] == []


@given(choices(max_blocks=2))
@settings(max_examples=examples(50), deadline=None)
def test_no_legal_order_of_any_plan_shows_a_wrong_version(choice: tuple[Shape, Plan, Recipe]):
    whole = build(*choice)
    for part in (unroll(whole, periods=2), unroll(whole.flush), unroll(whole.evaluate)):
        assert first_violation(part) is None


@given(choices(max_blocks=6) | shared(6))
@settings(max_examples=examples(50), deadline=None)
def test_three_periods_show_all_that_six_show(choice: tuple[Shape, Plan, Recipe]):
    whole = build(*choice)
    cut = replace(whole, period=replace(whole.period, ops=tuple(map(halved, whole.period.ops))))
    pairs = [{str(h).partition(" (")[0] for h in verify(cut, periods=n)} for n in (3, 6)]
    assert pairs[0] == pairs[1]


def halved(op: Op) -> Op:
    return replace(op, after=op.after[::2] if op.step % 2 else op.after[1::2])
