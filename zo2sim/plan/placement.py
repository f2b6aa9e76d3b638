"""Who has what of several devices: units, lanes and slices. Pure arithmetic.

On a `ring` a unit belongs to one device, and lanes go round in groups. `whole` and `sliced` deal
lanes instead: every device takes some of them through every unit.
"""

from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from zo2sim.plan.choices import Plan, Recipe

Number = Any
"""A whole number, or an array with one value per plan."""

SLICE_ELEMENTS = 128
"""Slices are cut at multiples of so many elements of a block's flat buffer: what a call of the
noise generator draws is never divided, so bits do not depend on the number of devices."""


def owner(unit: int, devices: int) -> int:
    """The device of a unit on a ring; the head and the tail are where the loss is."""
    return max(unit, 0) % devices


def cuts(elements: int, devices: int) -> tuple[range, ...]:
    """The elements of a flat buffer in each device's slice; of few elements some have none."""
    rows = -(-elements // SLICE_ELEMENTS)
    ends = [min(elements, rows * d // devices * SLICE_ELEMENTS) for d in range(devices + 1)]
    return tuple(map(range, ends[:-1], ends[1:]))


class Group(NamedTuple):
    """Lanes that go together: one sign's or both, of one part of the microbatches.

    ``device`` runs them in every unit; None on a ring, where the unit's does.
    """

    number: int
    lanes: str
    part: int
    device: int | None

    def among(self, lanes: str) -> str:
        """Which of ``lanes`` it runs; unperturbed ones go with W+."""
        if lanes == "0":
            return lanes if "+" in self.lanes else ""
        return "".join(sign for sign in self.lanes if sign in lanes)


def groups(plan: Plan) -> tuple[Group, ...]:
    """All lanes of a step, once: signs apart where that divides them, W+ first.

    One device runs both signs of a unit at once. So does each of an odd number of devices that take
    every unit, as they share microbatches alone.
    """
    return _groups(plan.placement == "ring", plan.devices, plan.lane_parts)


@cache
def _groups(ring: bool, devices: int, parts: int) -> tuple[Group, ...]:
    apart = devices > 1 if ring else devices % 2 == 0
    pairs = [(lanes, part) for lanes in (("+", "-") if apart else ("+-",)) for part in range(parts)]
    return tuple(
        Group(number, lanes, part, None if ring else number)
        for number, (lanes, part) in enumerate(pairs)
    )


def builds_ahead(plan: Plan, recipe: Recipe) -> bool:
    """Whether W is built by operations of its own, to be there when activations arrive.

    On a ring they come from another device, and all groups of a sign find the same W. Of several
    samples each has its own, which is built between their lanes.
    """
    return plan.devices > 1 and plan.placement == "ring" and recipe.samples == 1


def microbatches(part: int, parts: int, count: Number) -> tuple[Number, Number]:
    """A part's microbatches, from the first to the one after the last."""
    return count * part // parts, count * (part + 1) // parts


def signs_ahead(plan: Plan, recipe: Recipe) -> int:
    """Operations per unit that build W ahead: one per sign, or one for both."""
    return (1 if plan.scratch_copies == 2 else 2) if builds_ahead(plan, recipe) else 0


def between(plan: Plan, num_blocks: int) -> int:
    """Operations of a step that copy between devices: activations on a ring, or slices."""
    if plan.devices == 1 or plan.placement == "whole":
        return 0
    if plan.placement == "sliced":
        return num_blocks * plan.devices
    owners = [owner(unit, plan.devices) for unit in (*range(num_blocks), -1)]
    return len(groups(plan)) * sum(here != there for here, there in pairwise(owners))
