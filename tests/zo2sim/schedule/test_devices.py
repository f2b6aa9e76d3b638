"""Several devices: the orders that their programs allow, and every edge and copy between them."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import shared
from tests.thorough import examples
from tests.zo2sim.schedule.abstract_machine import Machine
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.policies import Layout, Shape, build, task
from zo2sim.policies.proof import hazards
from zo2sim.schedule.ops import Kind, Op, Program, Schedule
from zo2sim.schedule.unroll import Unrolled, unroll
from zo2sim.schedule.verify import races, unfulfilled

BLOCKS = 4
PLANS = (
    Plan(devices=2),
    Plan(devices=3, lane_groups=2, num_slots=1),
    Plan(devices=2, write_back_every=2, scratch_copies=2),
    Plan(devices=2, policy=Policy.HOST_UPDATE),
    Plan(devices=2, policy=Policy.RESIDENT, lane_groups=2),
    Plan(devices=2, placement="whole"),
    Plan(devices=3, placement="whole", policy=Policy.DUAL),
    Plan(devices=2, placement="sliced"),
    Plan(devices=4, placement="sliced", write_back_every=2, num_slots=1),
)
RECIPE = Recipe(microbatches=3)


def program(plan: Plan) -> Program:
    return build(Shape(num_blocks=BLOCKS), plan, RECIPE)


def crossing(part: Schedule) -> Iterator[tuple[int, str]]:
    """Edges between devices: who waits, and on whom."""
    for index, op in enumerate(part.ops):
        for edge in op.after:
            if part.ops[part.index[edge.removesuffix("^")]].device != op.device:
                yield index, edge


def less_edge(part: Schedule, index: int, edge: str) -> Schedule:
    cut = tuple(kept for kept in part.ops[index].after if kept != edge)
    return with_op(part, index, replace(part.ops[index], after=cut))


def with_op(part: Schedule, index: int, *ops: Op) -> Schedule:
    return replace(part, ops=(*part.ops[:index], *ops, *part.ops[index + 1 :]))


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_every_edge_between_devices_is_needed(plan: Plan):
    whole = program(plan)
    edges = [*crossing(whole.period)]
    assert edges
    for index, edge in edges:
        cut = replace(whole, period=less_edge(whole.period, index, edge))
        assert any(races(unroll(cut, periods=4))), f"{whole.period.ops[index].name} <- {edge}"


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_nothing_is_wrong_with_them(plan: Plan):
    assert hazards(Layout(shape=Shape(num_blocks=BLOCKS), plan=plan, recipe=RECIPE)) == ()


def some_order(unrolled: tuple[Unrolled, ...], seed: int) -> Iterator[Unrolled]:
    """Any order that tracks and edges allow: whatever can start may be next."""
    draw = random.Random(seed)
    waits = [set(item.deps) for item in unrolled]
    followers: list[list[int]] = [[] for _ in unrolled]
    for number, deps in enumerate(waits):
        for dep in deps:
            followers[dep].append(number)
    ready = [number for number, deps in enumerate(waits) if not deps]
    while ready:
        number = ready.pop(draw.randrange(len(ready)))
        yield unrolled[number]
        for other in followers[number]:
            waits[other].discard(number)
            if not waits[other]:
                ready.append(other)


def computed(choice: tuple[Shape, Plan, Recipe], order: Iterator[Unrolled]) -> object:
    machine = Machine(task(*choice).trained)
    for item in order:
        machine.run(item.op, item.step)
    kept = {b: v for b, v in machine.buffers.items() if b.space in ("host", "resident")}
    return machine.records, machine.journal, kept


@given(shared(4), st.integers(0, 2**32))
@settings(max_examples=examples(60), deadline=None)
def test_any_legal_order_computes_what_the_issue_order_does(
    choice: tuple[Shape, Plan, Recipe], seed: int
):
    unrolled = unroll(build(*choice), periods=3)
    assert computed(choice, some_order(unrolled, seed)) == computed(choice, iter(unrolled))


# ---- What is left out ----


def found(whole: Program, plan: Plan, kind: Kind, *ops: Op) -> list[str]:
    """Hazards of a program with its first operation of a kind replaced by ``ops``."""
    index = next(i for i, op in enumerate(whole.period.ops) if op.kind is kind)
    part = replace(
        whole.period, ops=tuple(replace(op, after=()) for op in whole.period.ops), name="cut"
    )
    asked = task(Shape(num_blocks=BLOCKS), plan, RECIPE)
    cut = replace(whole, period=with_op(part, index, *ops))
    return [str(h) for h in unfulfilled(cut, asked, lambda _: whole.flush)]


def first(whole: Program, kind: Kind) -> Op:
    return next(op for op in whole.period.ops if op.kind is kind)


def test_activations_that_are_not_sent():
    whole = program(PLANS[0])
    assert found(whole, PLANS[0], Kind.SEND)[0] == (
        "incomplete hazard on activations:0: F1%1 (compute%1, step 0) runs W+ of group 0, whose "
        "activations are elsewhere: send them"
    )


def test_a_slice_that_is_not_gathered():
    plan = PLANS[7]
    whole = program(plan)
    gather = first(whole, Kind.GATHER)
    assert found(whole, plan, Kind.GATHER, replace(gather, reads=gather.reads[:1], after=()))[
        0
    ] == ("stale hazard on slot:0: K0 (peer, step 1) gathers 1 of 2 slices; read every device's")
    assert found(whole, plan, Kind.GATHER)[0].startswith(
        "stale hazard on slot:0: F0 (compute, step 1) needs unit 0, but slot:0 holds nothing"
    )


def test_an_update_that_one_of_two_copies_lacks():
    whole = program(PLANS[5])
    index = whole.period.index["U0%1"]
    assert whole.period.ops[index].device == 1
    asked = task(Shape(num_blocks=BLOCKS), PLANS[5], RECIPE)
    late = replace(whole.period, ops=tuple(replace(op, after=()) for op in whole.period.ops))
    cut = replace(whole, period=with_op(late, index))
    assert str(unfulfilled(cut, asked, lambda _: whole.flush)[0]) == (
        "stale hazard on slot:0%1: F0%1/1 (compute%1, step 1) reads unit 0 with 0 records, but "
        "needs 1; apply the missing 1 first"
    )


def test_lanes_that_find_other_weights_in_scratch():
    plan = Plan(devices=2, lane_groups=2)
    whole = program(plan)
    assert found(whole, plan, Kind.BUILD)[0] == (
        "stale hazard on scratch:0: Fhead (compute, step 1) finds other weights in scratch:0 than "
        "those of its lanes; build them first"
    )


def test_weights_that_are_built_before_their_update():
    whole = program(PLANS[0])
    updated, built, *others = whole.period.ops
    assert (updated.name, built.name) == ("Uhead", "Zhead")
    late = replace(whole, period=replace(whole.period, ops=(built, updated, *others)))
    asked = task(Shape(num_blocks=BLOCKS), PLANS[0], RECIPE)
    assert str(unfulfilled(late, asked, lambda _: whole.flush)[0]) == (
        "stale hazard on resident:head: Zhead (compute, step 1) reads unit head with 0 records, "
        "but needs 1; apply the missing 1 first"
    )
