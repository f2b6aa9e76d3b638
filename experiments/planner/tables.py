"""What is stored of one model: for every format, plan, machine and load the memory and the step."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.case.target import plan_flags
from experiments.planner.choices import CARDS, FORMATS, MICROBATCHES, Format, stored_plans
from experiments.planner.computers import Computer
from zo2sim.machines.machine import Machine
from zo2sim.memory.placements import rooms
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.case import Case, of_usual_devices, of_usual_length
from zo2sim.predict.enclosure import Enclosure, beside, enclosures
from zo2sim.predict.predict import extrapolations
from zo2sim.simulate.bounds import BOTH_WAYS, UPLINK
from zo2sim.simulate.work import Resource

SHARED_LIMITS = (
    *(Resource.LINK_H2D, Resource.LINK_D2H, BOTH_WAYS, Resource.DRAM),
    *(Resource.NVME_READ, Resource.NVME_WRITE),
)
"""Limits of one card that depend on the machine and the plan, not on how much a step computes."""
POOLED_LIMITS = (
    *(Resource.LINK_H2D, Resource.LINK_D2H, BOTH_WAYS, Resource.DRAM),
    *(UPLINK, Resource.PEER, Resource.ISSUE),
)
"""Limits of several cards, beside computing; what they send each other grows with the load."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Of one format on computers with so many cards; the arrays have an entry per plan, then
    computer, then load. ``computers`` are numbers among all that the page has.

    ``memory`` is (3, plans, loads), bytes on the fullest card, host and drive; ``least`` (2, loads,
    residents), those on card and host with one slot and every number of resident blocks.
    ``lower_s`` and ``upper_s`` enclose the step, ``compute_s`` is what computing alone takes of it,
    and ``limits_s``, (limits, plans, computers, 1 or loads), what each of `SHARED_LIMITS`, or
    `POOLED_LIMITS` of several cards, takes. ``extrapolated`` has an entry per computer.
    """

    format: Format
    cards: int
    computers: tuple[int, ...]
    recipe: Recipe
    plans: tuple[Plan, ...]
    flags: tuple[str, ...]
    memory: Floats
    least: Floats
    lower_s: Floats
    upper_s: Floats
    compute_s: Floats
    limits_s: Floats
    extrapolated: tuple[tuple[str, ...], ...]

    @property
    def content(self) -> dict[str, Any]:
        """What of it is words; machines that extrapolate alike share theirs."""
        distinct = list(dict.fromkeys(self.extrapolated))
        return {
            "storage": self.format.storage,
            "trains": self.format.trains,
            "cards": self.cards,
            "computers": self.computers,
            "sequence": self.recipe.sequence,
            "blocks": self.least.shape[2] - 1,
            "residents": [_residents(plan) for plan in self.plans],
            "flags": self.flags,
            "recipe": " ".join(_recipe_flags(self.format.recipe)),
            "extrapolated": distinct,
            "extrapolates": [distinct.index(words) for words in self.extrapolated],
        }


def tables(
    model: Model, computers: Sequence[Computer], wanted: Collection[int] = CARDS
) -> Iterator[Steps]:
    """A table for every format and each number of cards that is wanted. Raises ``ValueError`` where
    the machines' contexts differ: then memory would not be the same on all of them."""
    contexts = {int(one.machine.device.context_bytes.value) for one in computers}
    if len(contexts) != 1:
        raise ValueError(f"machines must have contexts of one size; they have {sorted(contexts)}")
    for kind in FORMATS:
        for cards in dict.fromkeys(one.cards for one in computers if one.cards in wanted):
            own = {n: one.machine for n, one in enumerate(computers) if one.cards == cards}
            yield _table(model, kind, cards, own)


def _table(model: Model, kind: Format, cards: int, computers: Mapping[int, Machine]) -> Steps:
    recipe = of_usual_length(model, kind.recipe)
    plans = stored_plans(model, recipe, cards)
    machines = tuple(computers.values())
    base = Case(model=model, machine=machines[0], plan=plans[0], recipe=recipe)
    found = _enclosed(base, plans, machines)
    limits = SHARED_LIMITS if cards == 1 else POOLED_LIMITS
    loads = slice(0, 1 if cards == 1 else None)
    return Steps(
        format=kind,
        cards=cards,
        computers=tuple(computers),
        recipe=recipe,
        plans=plans,
        flags=tuple(" ".join(plan_flags(replace(base, plan=p), recipe)) for p in plans),
        memory=_memory(base, plans),
        least=_least(base, Plan(devices=cards, num_slots=1)),
        lower_s=np.stack([one.lower_s for one in found]),
        upper_s=np.stack([one.upper_s for one in found]),
        compute_s=np.stack([one.limits_s[Resource.COMPUTE] for one in found]),
        limits_s=np.stack([[one.limits_s[limit][:, loads] for one in found] for limit in limits]),
        extrapolated=tuple(extrapolations(replace(base, machine=machine)) for machine in machines),
    )


def _loads(base: Case) -> list[Recipe]:
    return [replace(base.recipe, microbatches=count) for count in MICROBATCHES]


def _usual(base: Case, plan: Plan, load: Recipe) -> Plan:
    """The plan with the groups of lanes that a command takes where nobody says how many."""
    return of_usual_devices(base.machine, plan, load, ("devices",))


def _enclosed(base: Case, plans: Sequence[Plan], machines: Sequence[Machine]) -> list[Enclosure]:
    """Every plan's steps; loads with other groups of lanes have another program."""
    by_groups: defaultdict[int, list[int]] = defaultdict(list)
    for load in _loads(base):
        by_groups[_usual(base, plans[0], load).lane_groups].append(load.microbatches)
    parts = (
        enclosures(
            base.model,
            base.recipe,
            [replace(plan, lane_groups=groups) for plan in plans],
            machines,
            counts,
        )
        for groups, counts in by_groups.items()
    )
    return [beside(own) for own in zip(*parts, strict=True)]


def _memory(base: Case, plans: Sequence[Plan]) -> Floats:
    """Bytes on device, host and drive, (3, plans, loads)."""
    cases = [
        [replace(base, plan=_usual(base, plan, load), recipe=load) for load in _loads(base)]
        for plan in plans
    ]
    accounts = [[case.memory for case in row] for row in cases]
    needs = [[(a.device_bytes, a.host_bytes, a.nvme_bytes) for a in row] for row in accounts]
    return np.moveaxis(np.array(needs, dtype=np.float64), 2, 0)


def _least(base: Case, plan: Plan) -> Floats:
    """Bytes on device and host with every number of resident blocks, (2, loads, residents)."""
    found = [
        rooms(
            base.model,
            _usual(base, plan, load),
            load,
            context_bytes=int(base.machine.device.context_bytes.value),
            residents=range(base.model.num_blocks + 1),
            slots=(1,),
        )
        for load in _loads(base)
    ]
    needs = [(own.device[:, 0], own.host[:, 0]) for own in found]
    return np.moveaxis(np.array(needs, dtype=np.float64), 1, 0)


def _residents(plan: Plan) -> int | None:
    """Resident blocks of the smallest plans, those with one slot; None for all others."""
    return plan.resident_blocks if plan.num_slots == 1 and plan.tier == "ram" else None


def _recipe_flags(recipe: Recipe) -> Iterator[str]:
    if recipe.lora_rank is not None:
        yield f"--trainable {recipe.trainable}"
    if recipe.storage_dtype != Recipe().storage_dtype:
        yield f"--storage-dtype {recipe.storage_dtype}"
