"""Completeness: a program does all that its model asks, and no operation can be left out or moved.

Whether a changed program still computes the same is judged by `abstract_machine`, which knows
nothing of what should happen.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Literal, NamedTuple

import pytest
from hypothesis import assume, given, settings

from tests.strategies import choices, shared
from tests.thorough import THOROUGH, examples, some_of
from tests.zo2sim.schedule.abstract_machine import outcome
from tests.zo2sim.schedule.handmade import program, with_parts
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.refusals import refusal
from zo2sim.policies import Layout, Shape, build, flush, task
from zo2sim.schedule.completeness import Task, check_complete
from zo2sim.schedule.ops import HEAD, TAIL, Buffer, BufferSpace, Op, Program, Schedule
from zo2sim.schedule.verify import unfulfilled

# ---- By hand ----

STEP = """
    Fhead compute lanes=+- writes activations:0
    F0 compute lanes=+- writes activations:0
    Ftail compute lanes=+- writes activations:0
    L compute reads activations:0 writes record:0
    J host reads record:0 writes journal:0
"""
EVALUATION = """
    Fhead compute lanes=0 writes activations:0
    F0 compute lanes=0 writes activations:0
    Ftail compute lanes=0 writes activations:0
    L compute reads activations:0
"""
ONE_BLOCK = Task(num_blocks=1, trained=frozenset({HEAD, 0, TAIL}))


def found(period: str, evaluate: str = EVALUATION, **asked: object) -> list[str]:
    """What a handmade program of one block leaves out, in words."""
    whole = program(period, evaluate=evaluate)
    return [str(h) for h in check_complete(whole, replace(ONE_BLOCK, **asked))]  # type: ignore[arg-type]


def less(text: str, name: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.split()[:1] != [name])


def test_a_step_of_both_signs_and_one_record_is_whole():
    assert found(STEP) == []


def test_a_unit_that_both_signs_leave_out():
    assert found(less(STEP, "F0")) == [
        "incomplete hazard on activations:0: Ftail (compute, step 0) runs W+, which passes 0 next",
        "incomplete hazard on record:0: L (compute, step 0) comes after W+ has passed 2 of 3 units",
    ]


def test_a_sign_that_leaves_out_a_unit():
    assert found(STEP.replace("F0 compute lanes=+-", "F0 compute lanes=+"))[0] == (
        "incomplete hazard on activations:0: Ftail (compute, step 0) runs W-, which passes 0 next"
    )


def test_a_sign_that_never_runs():
    assert found(STEP.replace("+-", "+")) == [
        "incomplete hazard on record:0: L (compute, step 0) comes after W- has passed 0 of 3 units"
    ]


def test_units_in_another_order():
    lines = STEP.splitlines()
    lines[2], lines[3] = lines[3], lines[2]
    assert found("\n".join(lines)) == [
        "incomplete hazard on activations:0: Ftail (compute, step 0) runs W+, which passes 0 next",
        "incomplete hazard on activations:0: F0 (compute, step 0) runs W+, which passes tail next",
    ]


def test_a_loss_of_two_forwards_passes_every_unit_twice():
    assert found(STEP, forwards=2) == [
        "incomplete hazard on record:0: L (compute, step 0) comes after W+ has passed 3 of 6 units"
    ]


def test_unperturbed_lanes_have_no_place_in_a_step():
    assert found(STEP.replace("F0 compute lanes=+-", "F0 compute lanes=0"))[0] == (
        "incomplete hazard on activations:0: F0 (compute, step 0) runs theta, which nobody "
        "asks for here"
    )


def test_an_evaluation_passes_every_unit_once_unperturbed():
    assert found(STEP, EVALUATION.replace("F0 compute lanes=0", "F0 compute lanes=+"))[0] == (
        "incomplete hazard on activations:0: F0 (compute, step 0) runs W+, which nobody asks for "
        "here"
    )
    assert found(STEP, less(EVALUATION, "F0"))[-1] == (
        "incomplete hazard on record:0: L (compute, step 0) comes after theta has passed 2 of 3 "
        "units"
    )


def test_a_step_without_a_loss():
    assert found(less(less(STEP, "L"), "J")) == [
        "incomplete hazard on record:0: L (compute, step 0) is missing from handmade"
    ]


def test_a_loss_that_nobody_makes_durable():
    assert found(less(STEP, "J")) == [
        "incomplete hazard on journal:0: J (host, step 0) is missing from handmade"
    ]
    assert found(less(STEP, "J"), journalled=False) == []


def test_a_record_before_its_loss():
    lines = STEP.splitlines()
    lines[4], lines[5] = lines[5], lines[4]
    assert found("\n".join(lines)) == [
        "incomplete hazard on journal:0: J (host, step 0) keeps record 1 after 0 losses"
    ]


def test_a_journal_that_nobody_asked_for():
    assert found(STEP, journalled=False) == [
        "incomplete hazard on journal:0: J (host, step 0) keeps record 1 after 1 losses"
    ]


def two_steps(second: str, first: str = STEP) -> list[str]:
    ops = (*program(first).period.ops, *program(second).period.ops)
    period = Schedule(name="handmade", steps=2, ops=ops)
    whole = replace(program("", evaluate=EVALUATION), prologue=period, period=period)
    return [str(hazard) for hazard in check_complete(whole, ONE_BLOCK)]


AGAIN = STEP.replace(" compute", "@1 compute").replace(" host", "@1 host")


def test_operations_come_step_by_step():
    assert two_steps(AGAIN) == []
    assert two_steps(AGAIN + "\nH7 h2d writes slot:0") == [
        "incomplete hazard on activations:0: H7 (h2d, step 0) comes too late, after operations of "
        "step 1"
    ]
    assert two_steps("\nH7@2 h2d writes slot:0" + AGAIN)[0] == (
        "incomplete hazard on activations:0: H7@2 (h2d, step 2) comes before the LOSS of step 1"
    )


def test_a_loss_reads_what_its_own_step_has_left():
    assert two_steps(AGAIN.replace(" writes activations:0", ""))[-1] == (
        "incomplete hazard on record:0: L@1 (compute, step 1) reads activations that have not "
        "passed all units"
    )


def test_a_forward_after_its_own_loss():
    assert found(STEP + "\nF0.1 compute lanes=+- writes activations:0")[0] == (
        "incomplete hazard on activations:0: F0.1 (compute, step 0) comes too late, after "
        "operations of step 0"
    )


def test_a_loss_before_the_journal_of_the_step_before():
    assert two_steps(less(AGAIN, "J@1"), first=less(STEP, "J"))[0] == (
        "incomplete hazard on journal:0: J (host, step 0) is missing from handmade"
    )


@pytest.mark.parametrize("tied", [True, False])
def test_in_place_a_tied_tail_leaves_the_head_s_weights_different_too(tied: bool):
    task = replace(ONE_BLOCK, in_place=True, tied=tied)
    assert [task.passed(unit) for unit in (HEAD, 0)] == [(HEAD,), (0,)]
    assert task.passed(TAIL) == ((TAIL, HEAD) if tied else (TAIL,))


def test_in_place_the_signs_take_turns():
    trips = [STEP.replace("+-", sign).replace(" compute", ".1 compute", 3) for sign in "-+"]
    minus, plus = ("\n".join(trip.splitlines()[1:4]) for trip in trips)
    minus, rest = minus.replace(".1", ".2"), "\n".join(STEP.splitlines()[4:])
    assert found("\n".join((plus, minus, rest)), in_place=True) == []
    assert found("\n".join((minus, plus, rest))) == []
    assert found("\n".join((minus, plus, rest)), in_place=True)[0] == (
        "incomplete hazard on activations:0: Fhead.2 (compute, step 0) runs W- in place, but the "
        "other sign is next"
    )
    twice = (plus, plus.replace(".1", ".3"), minus, minus.replace(".2", ".4"), rest)
    assert found("\n".join(twice), forwards=2) == []
    assert found("\n".join(twice), forwards=2, in_place=True)[0] == (
        "incomplete hazard on activations:0: Fhead.3 (compute, step 0) runs W+ in place, but the "
        "other sign is next"
    )


# ---- Nothing can be left out, or moved ----


class Choice(NamedTuple):
    """A program, what it was made from, and where its weights are kept."""

    shape: Shape
    plan: Plan
    recipe: Recipe

    @property
    def program(self) -> Program:
        return build(*self)

    @property
    def layout(self) -> Layout:
        return Layout(shape=self.shape, plan=self.plan, recipe=self.recipe)

    @property
    def homes(self) -> list[Buffer]:
        layout, found = self.layout, list[Buffer]()
        for unit in layout.units:
            if layout.is_streamed(unit) and self.plan.tier == "nvme":
                found.append(Buffer(BufferSpace.NVME, unit))
            elif layout.is_streamed(unit):
                found += dict.fromkeys(layout.home(unit, d) for d in layout.homes(unit))
            else:
                found += [layout.weights(unit, device) for device in layout.homes(unit)]
        return found

    def flush(self, done: int) -> Schedule:
        return flush(self.layout, done)


Change = Callable[[Schedule], Schedule]
PARTS = (("prologue", "period"), ("prologue",), ("period",), ("flush",), ("evaluate",))


def reordered(order: Callable[[tuple[Op, ...]], tuple[Op, ...]], part: Schedule) -> Schedule:
    """Edges go: they order what is issued, and here it is what is issued that is wrong."""
    return replace(part, ops=tuple(replace(op, after=()) for op in order(part.ops)))


def without(index: int) -> Change:
    return lambda part: reordered(lambda ops: (*ops[:index], *ops[index + 1 :]), part)


def moved(index: int, target: int) -> Change:
    def order(ops: tuple[Op, ...]) -> tuple[Op, ...]:
        rest = [*ops[:index], *ops[index + 1 :]]
        return (*rest[:target], ops[index], *rest[target:])

    return lambda part: reordered(order, part)


def swapped(one: int, other: int) -> Change:
    def order(ops: tuple[Op, ...]) -> tuple[Op, ...]:
        new = [*ops]
        new[one], new[other] = ops[other], ops[one]
        return tuple(new)

    return lambda part: reordered(order, part)


def neighbours(ops: tuple[Op, ...]) -> Iterator[tuple[int, int]]:
    """Operations that follow each other on a track."""
    for track in {op.track for op in ops}:
        yield from pairwise(i for i, op in enumerate(ops) if op.track == track)


def changes(ops: tuple[Op, ...]) -> Iterator[tuple[str, Change]]:
    """Every operation left out, every pair of neighbours swapped, every operation moved far."""
    for index, op in enumerate(ops):
        yield f"without {op.name}", without(index)
        for target in (0, (index + len(ops) // 2) % len(ops), len(ops) - 1):
            yield f"{op.name} moved to {target}", moved(index, target)
    for one, other in neighbours(ops):
        yield f"{ops[one].name} and {ops[other].name} swapped", swapped(one, other)


def judged(
    choice: Choice, parts: tuple[str, ...], change: Change
) -> tuple[bool, Callable[[], object]]:
    """Whether it is caught that parts of a program are changed, and what computes the program."""
    whole = choice.program
    changed = {part: change(getattr(whole, part)) for part in parts if part != "flush"}
    flush_after = choice.flush
    if "flush" in parts:
        flush_after = lambda done: change(choice.flush(done))  # noqa: E731
        changed = {"flush": change(whole.flush)}
    asked = task(*choice)
    mutant = with_parts(whole, changed)
    caught = bool(unfulfilled(mutant, asked, flush_after))
    return caught, lambda: outcome(mutant, flush_after, asked.trained, choice.homes)


def uncaught(choice: Choice, *, every: int = 3) -> Iterator[str]:
    """Changes that are not caught, although the program computes something else."""
    _, computed = judged(choice, (), lambda part: part)
    right = computed()
    assert right != "crashed"
    for parts in PARTS:
        tried = [*changes(getattr(choice.program, parts[-1]).ops)]
        for which, change in some_of(tried, every=every):
            caught, computed = judged(choice, parts, change)
            if not caught and computed() != right:
                yield f"{'+'.join(parts)} {which}"


@given(choices())
@settings(max_examples=examples(40), deadline=None)
def test_whatever_is_left_out_or_moved_is_caught_or_changes_nothing(
    choice: tuple[Shape, Plan, Recipe],
):
    assert next(uncaught(Choice(*choice)), None) is None


@given(shared(2))
@settings(max_examples=examples(20), deadline=None)
def test_so_it_is_with_several_devices(choice: tuple[Shape, Plan, Recipe]):
    """A device without a block has adapters that nothing reads: their update may be missing."""
    shape, plan, recipe = choice
    assume(shape.num_blocks >= plan.devices or not recipe.frozen_blocks)
    assert next(uncaught(Choice(*choice), every=40), None) is None


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("perturbation", ["scratch", "in_place"])
def test_no_operation_of_a_step_can_be_left_out(policy: Policy, perturbation: Literal["scratch"]):
    """With blocks that take turns in a slot, of which published code has three; a first update
    finds nothing to apply."""
    plan, recipe = Plan(policy=policy, num_slots=1), Recipe(perturbation=perturbation)
    if refusal(plan, recipe) is not None:
        return
    blocks = 6 if THOROUGH or policy is Policy.ZO2_REFERENCE else 3
    choice = Choice(Shape(num_blocks=blocks, tied=True), plan, recipe)
    for parts, part in ((("prologue", "period"), "period"), (("flush",), "flush")):
        ops = getattr(choice.program, part).ops
        kept = [op.name for i, op in enumerate(ops) if not judged(choice, parts, without(i))[0]]
        assert kept == []


def test_the_tail_s_update_of_a_policy_with_updates_of_their_own():
    """The program alone would not tell: nothing else in it is about the tail's update."""
    whole = build(Shape(num_blocks=2), Plan(policy=Policy.DUAL), Recipe())
    index = whole.period.index["Utail.1"]
    mutant = replace(
        whole, prologue=without(index)(whole.prologue), period=without(index)(whole.period)
    )
    asked = task(Shape(num_blocks=2), Plan(policy=Policy.DUAL), Recipe())
    assert [str(h) for h in unfulfilled(mutant, asked, lambda _: whole.flush)] == [
        "stale hazard on resident:tail: dual/flush leaves unit tail with 0 records there, but "
        "must leave unit tail with 1 record; write back what has changed",
        "stale hazard on resident:tail: Ftail (compute, step 2) reads unit tail with 0 records, "
        "but needs 1; apply the missing 1 first",
    ]


def test_the_published_code_has_a_loss_of_one_forward():
    with pytest.raises(ValueError, match=r"whose loss takes one forward; use policy=zo2 for a los"):
        build(Shape(num_blocks=2, forwards=2), Plan(policy=Policy.ZO2_REFERENCE), Recipe())


@given(choices(max_blocks=5) | shared(5))
@settings(max_examples=examples(100), deadline=None)
def test_every_plan_does_all_that_is_asked(choice: tuple[Shape, Plan, Recipe]):
    assert [str(hazard) for hazard in check_complete(build(*choice), task(*choice))] == []


def test_naive_trips_in_place_have_a_loss_of_one_forward():
    plan, recipe = Plan(policy=Policy.NAIVE), Recipe(perturbation="in_place")
    with pytest.raises(ValueError, match=r"^policy=naive runs W\+ of 2 forwards before W-, and in"):
        build(Shape(num_blocks=2, forwards=2), plan, recipe)
