"""The largest model that a machine has room for: of a list, and of one shape made deeper or wider.

A model fits where any plan fits that leaves the recipe, and what of the plan is ``fixed``, as they
are. Of the rest only the smallest have to be looked at: one slot, one scratch copy, a write-back
every step. More of these take more memory at every place. How many blocks stay on the device is
searched, because what the device gains the host loses, and so is the tier.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zo2sim.memory.account import fits, room
from zo2sim.models.config.wider import Widths
from zo2sim.models.shapes import Model, Unit, deeper
from zo2sim.plan.choices import Plan, Policy
from zo2sim.predict.case import Case
from zo2sim.search.space import PlanSpace, plan_axes
from zo2sim.simulate.steady import Floats

DEEPEST = 4096
"""Blocks up to which a deeper model is looked for."""
WIDEST = 1024
"""Heads up to which a wider one is."""
_SMALL = (Policy.ZO2, Policy.HOST_UPDATE, Policy.RESIDENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feasibility:
    """Whether a model fits: the plan that comes closest, and what is missing where it does not."""

    case: Case
    missing: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return not self.missing

    @property
    def model(self) -> Model:
        return self.case.model


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """``fits`` has room, and ``fails``, the next larger, has not; None where there is no such."""

    fits: Feasibility | None
    fails: Feasibility | None


def room_for(base: Case, fixed: Collection[str] = ()) -> Feasibility:
    """The verdict on the model, machine and recipe of a case, whatever else its plan is.

    Of blocks that are fixed to stay on the device a smaller model has all.
    """
    small = replace(base, plan=_smallest(base, fixed))
    axes = {
        "tier": plan_axes(base)["tier"],
        "policy": _SMALL,
        "resident_blocks": _residents(small),
    }
    axes = {name: values for name, values in axes.items() if name not in fixed}
    case = _least_missing(PlanSpace(base=small, axes=axes))
    short = (place.sentence for place in fits(case.memory, base.machine) if not place.fits)
    return Feasibility(case=case, missing=tuple(short))


def _smallest(base: Case, fixed: Collection[str]) -> Plan:
    chosen: dict[str, Any] = {name: getattr(base.plan, name) for name in fixed}
    if "resident_blocks" in chosen:
        chosen["resident_blocks"] = min(chosen["resident_blocks"], base.model.num_blocks)
    return Plan(**dict[str, Any](num_slots=1) | chosen)


def rooms_for(
    models: Iterable[Model], base: Case, fixed: Collection[str] = ()
) -> tuple[Feasibility, ...]:
    """The verdicts on several models, from the smallest to the largest."""
    ordered = sorted(models, key=lambda model: model.elements)
    return tuple(room_for(replace(base, model=model), fixed) for model in ordered)


def deepest(base: Case, fixed: Collection[str] = ()) -> Edge:
    """The most blocks of the model's kind that fit: every block takes memory."""
    return _edge(
        lambda n: room_for(replace(base, model=deeper(base.model, n)), fixed), most=DEEPEST
    )


def widest(base: Case, widths: Widths, fixed: Collection[str] = ()) -> Edge:
    """The most heads, with width and depth as ``widths`` says: each takes memory."""
    return _edge(
        lambda n: room_for(replace(base, model=widths.of(n)), fixed), most=WIDEST // widths.group
    )


def _edge(verdict: Callable[[int], Feasibility], *, most: int) -> Edge:
    """The largest size that fits and the next one, by bisection of sizes from 1 to ``most``."""
    low, high = 0, 1
    found = {1: verdict(1)}
    while found[high].fits and high < most:
        low, high = high, min(2 * high, most)
        found[high] = verdict(high)
    if found[high].fits:
        return Edge(fits=found[high], fails=None)
    while high - low > 1:
        middle = (low + high) // 2
        found[middle] = verdict(middle)
        low, high = (middle, high) if found[middle].fits else (low, middle)
    return Edge(fits=found.get(low), fails=found[high])


def _residents(small: Case) -> tuple[int, ...]:
    """Numbers of resident blocks that can decide: all, or the ends and the most that fit.

    Where blocks are of one size, each that stays takes its size from the device and gives it to
    the host, so only the most that the device has room for matters.
    """
    model, stored = small.model, (small.recipe.storage_dtype, small.recipe.plain_dtype)
    sizes = {block.buffer_bytes(*stored) for block in _kinds(model)}
    if len(sizes) > 1:
        return tuple(range(model.num_blocks + 1))
    low, high = 0, model.num_blocks
    while low < high:
        middle = (low + high + 1) // 2
        if _device_bytes(small, middle) <= small.machine.device.memory_bytes.value:
            low = middle
        else:
            high = middle - 1
    return tuple(sorted({0, low, model.num_blocks}))


def _kinds(model: Model) -> tuple[Unit, ...]:
    return tuple(model.blocks[block] for block in sorted(set(model.first_alike)))


def _device_bytes(small: Case, residents: int) -> int:
    case = replace(small, plan=replace(small.plan, resident_blocks=residents))
    return case.memory.device_bytes


def _least_missing(space: PlanSpace) -> Case:
    """The plan that is too large by fewest bytes, all places together; how long it takes is not
    asked. Of several the first."""
    missing = np.array([_missing_bytes(core, space) for core in space.cores])
    core, resident = np.unravel_index(int(missing.argmin()), missing.shape)
    case = space.cores[core]
    return replace(case, plan=replace(case.plan, resident_blocks=space.residents[resident]))


def _missing_bytes(core: Case, space: PlanSpace) -> Floats:
    """By how much each number of resident blocks is too large."""
    needed = space.rooms(core)
    missing = np.zeros(len(space.residents))
    for place, available in room(core.machine).items():
        missing += np.maximum(needed.at(place)[:, 0] - int(available), 0)
    return missing
