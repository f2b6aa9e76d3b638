"""What a model asks of a plan's program: of its shape and its recipe, whoever decides the order."""

from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.placement import groups
from zo2sim.policies.layout import Shape
from zo2sim.schedule.completeness import Task
from zo2sim.schedule.ops import HEAD, TAIL


def task(shape: Shape, plan: Plan, recipe: Recipe) -> Task:
    """Of a model in which every weight that the recipe trains can be trained."""
    published = plan.policy.traits.published
    everything = (HEAD, *range(shape.num_blocks), TAIL)
    beside = (HEAD,)  # where adapters and scales of every block live
    return Task(
        num_blocks=shape.num_blocks,
        trained=frozenset(beside if recipe.frozen_blocks else everything),
        tied=shape.tied,
        forwards=shape.forwards,
        in_place=published or recipe.perturbation == "in_place",
        journalled=not published,
        groups=tuple(group.lanes for group in groups(plan)),
        slices=plan.devices if plan.placement == "sliced" else 1,
    )
