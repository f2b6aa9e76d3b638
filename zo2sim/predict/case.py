"""A case: one model, machine, plan and recipe; what every question is asked about."""

from dataclasses import dataclass, replace

from zo2sim.cost import CostModel
from zo2sim.machines.machine import Machine
from zo2sim.memory.account import MemoryAccount
from zo2sim.memory.runtime import account
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe, of_policy
from zo2sim.plan.workload import STEP, Workload
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that a prediction depends on."""

    model: Model
    machine: Machine
    plan: Plan
    recipe: Recipe
    workload: Workload = STEP

    @property
    def program(self) -> Program:
        """The schedules of the plan; raises ``ValueError`` where the combination is refused.

        A forward alone is the read-only traversal, in the place of the period.
        """
        program = build(Shape.of(self.model), self.plan, self.recipe)
        return program.evaluation if self.workload.once else program

    @property
    def memory(self) -> MemoryAccount:
        """What it needs at its peak, with the machine's context."""
        context_bytes = int(self.machine.device.context_bytes.value)
        return account(self.model, self.plan, self.recipe, context_bytes=context_bytes)

    @property
    def cost(self) -> CostModel:
        """What its operations cost."""
        return CostModel.of(self.model, self.machine, self.plan, self.recipe, self.workload)


def of_usual_length(model: Model, recipe: Recipe) -> Recipe:
    """A recipe whose sequence nobody chose: no longer than positions that are learned."""
    return replace(recipe, sequence=model.shortened(recipe.sequence))


def asked(model: Model, machine: Machine, plan: Plan, recipe: Recipe) -> Case:
    """The case that somebody asks about. Raises ``ValueError`` for a sequence longer than the model
    has positions.

    The published code of ZO2 runs untied models only, so that is what it gets, and its own noise.
    """
    model.check_length(recipe.sequence)
    return Case(
        model=model.untied() if plan.policy.traits.published else model,
        machine=machine,
        plan=plan,
        recipe=of_policy(plan, recipe),
    )
