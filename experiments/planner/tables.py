"""What is stored of one model: for every format, plan, machine and load the memory and the step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.case.target import plan_flags
from experiments.planner.choices import FORMATS, MICROBATCHES, Format, stored_plans
from zo2sim.machines.machine import Machine
from zo2sim.memory.runtime import account
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.case import Case, of_usual_length
from zo2sim.predict.enclosure import enclosures
from zo2sim.predict.predict import extrapolations
from zo2sim.simulate.bounds import BOTH_WAYS
from zo2sim.simulate.work import Resource

SHARED_LIMITS = (
    *(Resource.LINK_H2D, Resource.LINK_D2H, BOTH_WAYS, Resource.DRAM),
    *(Resource.NVME_READ, Resource.NVME_WRITE),
)
"""Limits that depend on the machine and the plan, not on how much a step computes."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Of one format; the arrays have an entry per plan, then machine, then load.

    ``memory`` is (3, plans, loads), bytes on device, host and drive. ``lower_s`` and ``upper_s``
    enclose the step, ``compute_s`` is what computing alone takes of it, and ``shared_s``, (limits,
    plans, machines), what each of `SHARED_LIMITS` takes. ``extrapolated`` has an entry per machine.
    """

    format: Format
    recipe: Recipe
    plans: tuple[Plan, ...]
    flags: tuple[str, ...]
    memory: Floats
    lower_s: Floats
    upper_s: Floats
    compute_s: Floats
    shared_s: Floats
    extrapolated: tuple[tuple[str, ...], ...]

    @property
    def content(self) -> dict[str, Any]:
        """What of it is words; machines that extrapolate alike share theirs."""
        distinct = list(dict.fromkeys(self.extrapolated))
        return {
            "storage": self.format.storage,
            "trains": self.format.trains,
            "sequence": self.recipe.sequence,
            "residents": [_residents(plan) for plan in self.plans],
            "flags": self.flags,
            "recipe": " ".join(_recipe_flags(self.format.recipe)),
            "extrapolated": distinct,
            "extrapolates": [distinct.index(words) for words in self.extrapolated],
        }


def tables(model: Model, machines: Sequence[Machine]) -> Iterator[Steps]:
    """A table for every format. Raises ``ValueError`` where the machines' contexts differ: then
    memory would not be the same on all of them."""
    contexts = {int(machine.device.context_bytes.value) for machine in machines}
    if len(contexts) != 1:
        raise ValueError(f"machines must have contexts of one size; they have {sorted(contexts)}")
    for kind in FORMATS:
        yield _table(model, kind, machines, contexts.copy().pop())


def _table(model: Model, kind: Format, machines: Sequence[Machine], context: int) -> Steps:
    recipe = of_usual_length(model, kind.recipe)
    plans = stored_plans(model, recipe)
    found = list(enclosures(model, recipe, plans, machines, MICROBATCHES))
    base = Case(model=model, machine=machines[0], plan=plans[0], recipe=recipe)
    return Steps(
        format=kind,
        recipe=recipe,
        plans=plans,
        flags=tuple(" ".join(plan_flags(replace(base, plan=p), recipe)) for p in plans),
        memory=_memory(model, recipe, plans, context),
        lower_s=np.stack([one.lower_s for one in found]),
        upper_s=np.stack([one.upper_s for one in found]),
        compute_s=np.stack([one.limits_s[Resource.COMPUTE] for one in found]),
        shared_s=np.stack(
            [[one.limits_s[limit][:, 0] for one in found] for limit in SHARED_LIMITS]
        ),
        extrapolated=tuple(extrapolations(replace(base, machine=machine)) for machine in machines),
    )


def _memory(model: Model, recipe: Recipe, plans: Sequence[Plan], context: int) -> Floats:
    """Bytes on device, host and drive, (3, plans, loads)."""
    loads = [replace(recipe, microbatches=count) for count in MICROBATCHES]
    accounts = [
        [account(model, plan, load, context_bytes=context) for load in loads] for plan in plans
    ]
    needs = [[(a.device_bytes, a.host_bytes, a.nvme_bytes) for a in row] for row in accounts]
    return np.moveaxis(np.array(needs, dtype=np.float64), 2, 0)


def _residents(plan: Plan) -> int | None:
    """Resident blocks of the smallest plans, those with one slot; None for all others."""
    return plan.resident_blocks if plan.num_slots == 1 and plan.tier == "ram" else None


def _recipe_flags(recipe: Recipe) -> Iterator[str]:
    if recipe.lora_rank is not None:
        yield f"--trainable {recipe.trainable}"
    if recipe.storage_dtype != Recipe().storage_dtype:
        yield f"--storage-dtype {recipe.storage_dtype}"
