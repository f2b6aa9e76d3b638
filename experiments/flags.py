"""A plan as the flags that other commands read."""

from collections.abc import Iterator
from dataclasses import fields

from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.case import Case


def plan_flags(case: Case, recipe: Recipe) -> tuple[str, ...]:
    """What differs from the defaults of a plan, and from ``recipe``; the policy always."""
    return (f"--policy {case.plan.policy}", *_plan(case.plan), *_recipe(case.recipe, recipe))


def _plan(plan: Plan) -> Iterator[str]:
    default = Plan(policy=plan.policy)
    for f in fields(Plan):
        value = getattr(plan, f.name)
        if value != getattr(default, f.name):
            yield _flag(f.name, value)


def _recipe(recipe: Recipe, usual: Recipe) -> Iterator[str]:
    for f in fields(Recipe):
        value = getattr(recipe, f.name)
        if value != getattr(usual, f.name):
            yield _flag(f.name, value)


def _flag(name: str, value: object) -> str:
    flag = f"--{name.replace('_', '-')}"
    return f"{flag} {str(value).lower() if isinstance(value, bool) else value}"
