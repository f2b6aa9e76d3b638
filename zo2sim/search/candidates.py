"""Every plan of a space with its memory and a lower bound of its step: arrays, one entry per plan.

Plans that place blocks alike count once: with fewer streamed blocks than slots, the slots that
nothing passes through do not exist.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zo2sim.machines.machine import Machine
from zo2sim.memory.account import MemoryPlace, room
from zo2sim.memory.placements import Bytes, Rooms
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.policies import Layout, Shape
from zo2sim.predict.case import Case
from zo2sim.search.placement_bounds import bounds_s
from zo2sim.search.space import PlanSpace
from zo2sim.simulate.steady import Floats, Numbers

Flags = NDArray[np.bool_]
Allowed = Callable[[Plan, Recipe], bool]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Entry i is plan ``case(i)``: its bound in seconds per step, and its bytes at each place."""

    space: PlanSpace
    cores: tuple[Case, ...]
    core: Numbers
    residents: Numbers
    slots: Numbers
    bound_s: Floats
    device: Bytes
    host: Bytes
    nvme: Bytes

    @classmethod
    def of(cls, space: PlanSpace, *, allowed: Allowed | None = None) -> "Candidates":
        """Every distinct plan of the space; ``allowed`` may rule out some of them.

        Raises ``ValueError`` where none is left.
        """
        cores = tuple(c for c in space.cores if allowed is None or allowed(c.plan, c.recipe))
        if not cores:
            raise ValueError("the space has no plan that can be executed; free more axes")
        parts = [_of_core(number, case, space) for number, case in enumerate(cores)]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return cls(space=space, cores=cores, **columns)

    def on(self, machine: Machine) -> "Candidates":
        """The same plans on a machine that differs in rates only."""
        cores = tuple(replace(case, machine=machine) for case in self.cores)
        space = replace(self.space, base=replace(self.space.base, machine=machine))
        columns = np.searchsorted(space.slots, self.slots)
        bound_s = np.empty(len(self))
        for number, case in enumerate(cores):
            mine = self.core == number
            rows = np.searchsorted(space.residents, self.residents[mine])
            grid = bounds_s(case, residents=space.residents, slots=space.slots)
            bound_s[mine] = grid[rows, columns[mine]]
        return replace(self, space=space, cores=cores, bound_s=bound_s)

    def only(self, numbers: Numbers) -> "Candidates":
        """Some of the plans, in the given order; entries are numbered anew."""
        mine = self.core[numbers]
        used: list[int] = sorted(set(mine.tolist()))
        return replace(
            self,
            cores=tuple(self.cores[number] for number in used),
            core=np.searchsorted(used, mine),
            residents=self.residents[numbers],
            slots=self.slots[numbers],
            bound_s=self.bound_s[numbers],
            device=self.device[numbers],
            host=self.host[numbers],
            nvme=self.nvme[numbers],
        )

    def __len__(self) -> int:
        return len(self.core)

    def case(self, number: int) -> Case:
        """The case of one entry."""
        core = self.cores[int(self.core[number])]
        placed = {
            "resident_blocks": int(self.residents[number]),
            "num_slots": int(self.slots[number]),
        }
        return replace(core, plan=replace(core.plan, **placed))

    def fitting(self, machine: Machine, *, free: MemoryPlace | None = None) -> Flags:
        """Which plans have room on a machine; what one place has may be left out of it."""
        flags = np.ones(len(self), dtype=bool)
        for place, available in room(machine).items():
            if place is not free:
                flags &= self.needed(place) <= int(available)
        return flags

    def needed(self, place: MemoryPlace) -> Bytes:
        """Bytes at one place."""
        return Rooms(device=self.device, host=self.host, nvme=self.nvme).at(place)

    @cached_property
    def kin(self) -> Numbers:
        """Equal numbers for plans whose programs are equal: they differ in load only."""
        first: dict[object, int] = {}
        keys = ((c.plan, c.recipe.without_load(c.plan)) for c in self.cores)
        family = np.array([first.setdefault(key, len(first)) for key in keys], dtype=np.int64)
        place = self.residents * (int(self.slots.max()) + 1) + self.slots
        return family[self.core] * (int(place.max()) + 1) + place


def _of_core(number: int, case: Case, space: PlanSpace) -> dict[str, NDArray[Any]]:
    shape, residents = Shape.of(case.model), space.residents
    rows, columns = _distinct(shape, case.plan.policy, residents, space.slots)
    needed = space.rooms(case)
    return {
        "core": np.full(len(rows), number, dtype=np.int64),
        "residents": np.array(residents, dtype=np.int64)[rows],
        "slots": np.array(space.slots, dtype=np.int64)[columns],
        "bound_s": bounds_s(case, residents=residents, slots=space.slots)[rows, columns],
        "device": needed.device[rows, columns],
        "host": needed.host[rows, columns],
        "nvme": needed.nvme[rows, columns],
    }


@lru_cache(maxsize=64)
def _distinct(
    shape: Shape, policy: Policy, residents: tuple[int, ...], slots: tuple[int, ...]
) -> tuple[list[int], list[int]]:
    """Places in the grid of residents and slots, the first one of those that are alike."""
    first: dict[tuple[int, int], tuple[int, int]] = {}
    for row, resident in enumerate(residents):
        for column, number in enumerate(slots):
            plan = Plan(policy=policy, resident_blocks=resident, num_slots=number)
            layout = Layout(shape=shape, plan=plan, recipe=Recipe())
            first.setdefault((layout.num_resident, layout.num_slots), (row, column))
    return [row for row, _ in first.values()], [column for _, column in first.values()]
