"""Policies: pure functions from a model's shape, a plan and a recipe to a program of schedules.

A policy declares operations in issue order (`streaming`, `reference`); edges follow from what the
operations touch (`zo2sim.schedule.edges`), from the order that a policy asks for on top, and from
nothing else.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.refusals import check
from zo2sim.policies.layout import Layout, Shape
from zo2sim.policies.reference import reference_ops
from zo2sim.policies.streaming import evaluate_ops, flush_ops, period_ops
from zo2sim.policies.task import task
from zo2sim.schedule.edges import prologue, with_edges
from zo2sim.schedule.ops import Op, Program, Schedule

__all__ = ["Layout", "Shape", "build", "flush", "task"]


def build(shape: Shape, plan: Plan, recipe: Recipe) -> Program:
    """The program of a plan.

    Raises ``ValueError`` when the plan and the recipe cannot be combined (`zo2sim.plan.refusals`),
    when more blocks are to be resident than the model has, or when a loss of several forwards meets
    rarer write-back (later trips would read blocks that lack records), naive trips in place, or the
    published code, which has one.
    """
    check(plan, recipe)
    if shape.forwards > 1 and plan.policy.traits.published:
        raise ValueError(
            f"policy={plan.policy} stands for the published code, whose loss takes one forward; "
            f"use policy=zo2 for a loss of {shape.forwards}"
        )
    if shape.forwards > 1 and plan.write_back_every > 1:
        raise ValueError(
            f"a loss of {shape.forwards} forwards reads every block again, as it was written back; "
            f"use write_back_every=1; got {plan.write_back_every}"
        )
    if shape.forwards > 1 and plan.policy is Policy.NAIVE and recipe.perturbation == "in_place":
        raise ValueError(
            f"policy=naive runs W+ of {shape.forwards} forwards before W-, and in place the second "
            "would start from the first's; use perturbation=scratch, or policy=dual"
        )
    layout = Layout(shape=shape, plan=plan, recipe=recipe)
    period = _schedule(layout, "period", _ordered(layout), cyclic=True)
    return Program(
        prologue=prologue(period),
        period=period,
        flushing=partial(flush, layout, plan.write_back_every),
        evaluating=partial(_evaluate, layout),
    )


def flush(layout: Layout, done: int) -> Schedule:
    """Apply what is pending after ``done`` steps; it starts when the device is idle."""
    return _schedule(layout, "flush", flush_ops(layout, done), cyclic=False)


def _evaluate(layout: Layout) -> Schedule:
    return _schedule(layout, "evaluate", evaluate_ops(layout), cyclic=False)


def _schedule(layout: Layout, part: str, ops: Iterable[Op], *, cyclic: bool) -> Schedule:
    return Schedule(
        name=f"{layout.plan.policy}/{part}",
        steps=layout.plan.write_back_every if part == "period" else 1,
        ops=with_edges(tuple(ops), cyclic=cyclic),
    )


def _ordered(layout: Layout) -> Iterator[Op]:
    if layout.plan.policy.traits.published:
        return reference_ops(layout)
    ops = period_ops(layout)
    return ops if layout.plan.overlaps else _one_after_another(tuple(ops))


def _one_after_another(ops: tuple[Op, ...]) -> Iterator[Op]:
    for before, op in zip((ops[-1], *ops), ops, strict=False):
        wrap = "^" if op is ops[0] else ""
        yield replace(op, after=(before.name + wrap,))
