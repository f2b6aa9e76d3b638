"""A case: one model, machine, plan and recipe; what every question is asked about."""

from collections.abc import Container
from dataclasses import dataclass, replace

from zo2sim.cost import CostModel
from zo2sim.machines.machine import Machine
from zo2sim.memory.account import MemoryAccount
from zo2sim.memory.runtime import account
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe, of_policy
from zo2sim.plan.placement import owner
from zo2sim.plan.refusals import refusal
from zo2sim.plan.workload import STEP, Workload
from zo2sim.policies import Layout, Shape, build
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


def of_usual_devices(machine: Machine, plan: Plan, recipe: Recipe, given: Container[str]) -> Plan:
    """A plan whose devices nobody chose: all that the machine has, where they can be used, and on a
    ring as many groups of lanes as keep them busy. ``given`` are fields that somebody chose: who
    chose how devices share the work is not given one device alone."""
    wider = plan
    if "devices" not in given and machine.node is not None:
        wider = replace(plan, devices=machine.node.devices)
    if "lane_groups" not in given and wider.devices > 1 and wider.placement == "ring":
        groups = min(recipe.microbatches, wider.devices // 2) if recipe.samples == 1 else 1
        wider = replace(wider, lane_groups=max(1, groups))
    shared = "placement" in given or "lane_groups" in given
    return plan if refusal(wider, recipe) is not None and not shared else wider


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


def socket_bytes(case: Case) -> tuple[int, ...]:
    """Bytes of streamed blocks in the memory of every socket that the plan's devices are near.

    A block lies with the socket of the device that uploads it, a slice with that of its own; what
    all devices upload is dealt over the sockets as on a ring. One number for one device.
    """
    plan, setting = case.plan, case.cost.setting
    node = setting.several
    blocks = Layout(shape=Shape.of(case.model), plan=plan, recipe=case.recipe).streamed
    if node is None:
        return (sum(setting.unit_bytes(b, case.recipe.storage_dtype) for b in blocks),)
    found = [0] * len(node.sockets)
    for block in blocks:
        nbytes = setting.unit_bytes(block, case.recipe.storage_dtype)
        if plan.placement == "sliced":
            for device in range(plan.devices):
                found[node.socket_of(device)] += nbytes // plan.devices
        else:
            found[node.socket_of(owner(block, plan.devices))] += nbytes
    return tuple(found)
