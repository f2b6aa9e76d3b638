"""The plan space: which values every field of a plan and a recipe may take in a search.

A `Case` says what everything else is. Axes of a plan change where and when, never a bit of the
result; axes of a recipe change bits or statistics, so they are searched only where asked for.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product
from typing import Any, get_args

from zo2sim.dtypes import Dtype
from zo2sim.memory.placements import Rooms, rooms
from zo2sim.plan.choices import Placement, Plan, Policy, Recipe
from zo2sim.plan.refusals import refusal
from zo2sim.predict.case import Case

SEARCHED = (Policy.RESIDENT, Policy.ZO2, Policy.HOST_UPDATE, Policy.DUAL, Policy.NAIVE)
"""Policies of this project's runtime; the published code has nothing to choose."""
INTEGERS = (Dtype.INT8, Dtype.INT4, Dtype.INT4_ASYM)
"""Storage formats of blocks that are not trained."""
PLACEMENT = ("num_slots", "resident_blocks")
"""Axes that no refusal depends on, and that are searched as one grid per core."""

_PLAN = tuple(f.name for f in fields(Plan))
_RECIPE = tuple(f.name for f in fields(Recipe))

Axes = Mapping[str, tuple[Any, ...]]


def changes_recipe(axis: str) -> bool:
    """Whether an axis changes the bits or the statistics of the result."""
    return axis in _RECIPE


def plan_axes(case: Case, *, fixed: Container[str] = ()) -> dict[str, tuple[Any, ...]]:
    """What a search varies unless told otherwise: everything that leaves the result as it is.

    How weights are page-locked stays as given, and so do the ablations of the paper, and what is
    ``fixed``.
    """
    axes = {
        "policy": SEARCHED,
        "write_back_every": (1, 2, 3, 4, 6, 8, 12, 16),
        "scratch_copies": (1, 2),
        "tier": ("ram",) if case.machine.nvme is None else ("ram", "nvme"),
        "num_slots": (1, 2, 3, 4, 6, 8),
        "resident_blocks": tuple(range(case.model.num_blocks + 1)),
        **_of_devices(case),
    }
    return {name: values for name, values in axes.items() if name not in fixed}


def _of_devices(case: Case) -> dict[str, tuple[Any, ...]]:
    """How several devices share the work; how many they are stays as given."""
    if case.plan.devices == 1:
        return {}
    groups = {1, 2, 4, 8, case.plan.lane_groups}
    most = max(case.plan.lane_groups, min(case.recipe.microbatches, case.plan.devices))
    return {
        "placement": get_args(Placement),
        "lane_groups": tuple(sorted(count for count in groups if count <= most)),
    }


def recipe_axes(recipe: Recipe) -> dict[str, tuple[Any, ...]]:
    """Values of the recipe's axes that a search may be asked to vary, too."""
    stored = recipe.storage_dtype.is_integer
    half = recipe.compute_dtype if recipe.compute_dtype is not Dtype.FP32 else Dtype.FP16
    return {
        "microbatches": (1, 2, 4, 8, 16, 32),
        "samples": (1, 2, 4, 8),
        "storage_dtype": (
            *(() if recipe.trains_scales else (Dtype.FP32, half)),
            *(INTEGERS if recipe.frozen_blocks else ()),
        ),
        "wire_dtype": (recipe.storage_dtype,) if stored else (Dtype.FP32, half, Dtype.FP8),
        "noise": ("gaussian", "rademacher"),
    }


@dataclass(frozen=True, kw_only=True)
class PlanSpace:
    """Plans and recipes to choose from: a case, and for some of its fields all values to try.

    Raises ``ValueError`` for an axis that is no field, that has no values or one twice, and for a
    policy that stands for other people's code.
    """

    base: Case
    axes: Axes

    def __post_init__(self) -> None:
        for axis, values in self.axes.items():
            if axis not in (*_PLAN, *_RECIPE):
                raise ValueError(f"an axis must be a field of a plan or a recipe; got {axis!r}")
            if not values or len(set(values)) < len(values):
                raise ValueError(f"axis {axis} must have values, each once; got {values}")
        other = [p for p in self._values("policy") if p not in SEARCHED]
        if other:
            raise ValueError(
                f"policy must be one of {', '.join(SEARCHED)} in a search; got {other[0]}, which "
                "stands for other code and has nothing to choose"
            )
        blocks = self.base.model.num_blocks
        if max(self.residents) > blocks:
            raise ValueError(
                f"resident_blocks must be at most the model's {blocks} blocks; "
                f"got {max(self.residents)}"
            )

    @property
    def slots(self) -> tuple[int, ...]:
        """Numbers of slots to choose from, ascending."""
        return tuple(sorted(self._values("num_slots")))

    @property
    def residents(self) -> tuple[int, ...]:
        """Numbers of resident blocks to choose from, ascending."""
        return tuple(sorted(self._values("resident_blocks")))

    @cached_property
    def cores(self) -> tuple[Case, ...]:
        """Every allowed combination of all axes but the placement's, once.

        An integer storage dtype is the same with any wire. Raises ``ValueError`` with the last
        reason where every one is refused.
        """
        reason, found = "no machine runs it", dict[tuple[Plan, Recipe], Case]()
        for case in self._combined():
            why = refused(case)
            if why is None:
                found.setdefault((case.plan, case.recipe), case)
            else:
                reason = why
        if not found:
            raise ValueError(f"the space has no plan that is allowed: {reason}")
        return tuple(found.values())

    def rooms(self, core: Case) -> Rooms:
        """What one of the cores needs with each number of resident blocks and of slots."""
        return rooms(
            core.model,
            core.plan,
            core.recipe,
            context_bytes=int(core.machine.device.context_bytes.value),
            residents=self.residents,
            slots=self.slots,
        )

    def place(self, core: Case) -> tuple[int, ...]:
        """Where each value of a core stands on its axis; -1 for one that follows from another's."""
        axes = ((self.axes[name], _value(core, name)) for name in self._of_cores)
        return tuple(axis.index(value) if value in axis else -1 for axis, value in axes)

    def _values(self, axis: str) -> tuple[Any, ...]:
        return self.axes.get(axis, (_value(self.base, axis),))

    @property
    def _of_cores(self) -> list[str]:
        return [axis for axis in self.axes if axis not in PLACEMENT]

    def _combined(self) -> Iterator[Case]:
        names = self._of_cores
        for values in product(*(self.axes[name] for name in names)):
            yield changed(self.base, dict(zip(names, values, strict=True)))


def _value(case: Case, axis: str) -> Any:
    return getattr(case.plan if axis in _PLAN else case.recipe, axis)


def changed(case: Case, values: Mapping[str, Any]) -> Case:
    """The case with some fields of its plan and recipe changed; raises ``ValueError`` as they do.

    Pinning follows the policy where nobody chose it, and the wire a storage dtype that takes the
    place of an integer one.
    """
    own = {k: v for k, v in values.items() if k in _PLAN}
    if "policy" in own and case.plan.pinning == Plan(policy=case.plan.policy).pinning:
        own = {"pinning": "auto", **own}
    more = {k: v for k, v in values.items() if k in _RECIPE}
    if case.recipe.storage_dtype.is_integer and "storage_dtype" in more:
        more = {"wire_dtype": more["storage_dtype"], **more}
    return replace(case, plan=replace(case.plan, **own), recipe=replace(case.recipe, **more))


def refused(case: Case) -> str | None:
    """Why no machine, or not this one, runs the case; None where it does."""
    reason = refusal(case.plan, case.recipe)
    if reason is None and case.plan.tier == "nvme" and case.machine.nvme is None:
        reason = f"{case.machine.name} has no NVMe"
    if reason is None:
        try:
            _ = case.machine.device.flops_per_s(case.recipe.compute_dtype)
        except ValueError as error:
            reason = str(error)
    return reason
