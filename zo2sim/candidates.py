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

from zo2sim.case import Case
from zo2sim.machine import Machine
from zo2sim.memory_account import Place
from zo2sim.memory_grid import Bytes, rooms
from zo2sim.plan import Plan, Policy, Recipe
from zo2sim.policies import Layout, Shape
from zo2sim.space import Space
from zo2sim.steady import Floats, Numbers
from zo2sim.traffic import bounds_s

Flags = NDArray[np.bool_]
Allowed = Callable[[Plan, Recipe], bool]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Entry i is plan ``case(i)``: its bound in seconds per step, and its bytes at each place."""

    cores: tuple[Case, ...]
    core: Numbers
    residents: Numbers
    slots: Numbers
    bound_s: Floats
    device: Bytes
    host: Bytes
    nvme: Bytes

    @classmethod
    def of(cls, space: Space, *, allowed: Allowed | None = None) -> "Candidates":
        """Every distinct plan of the space; ``allowed`` may rule out some of them.

        Raises ``ValueError`` where none is left.
        """
        cores = tuple(c for c in space.cores if allowed is None or allowed(c.plan, c.recipe))
        if not cores:
            raise ValueError("the space has no plan that can be executed; free more axes")
        parts = [_of_core(number, case, space) for number, case in enumerate(cores)]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return cls(cores=cores, **columns)

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

    def fitting(self, machine: Machine) -> Flags:
        """Which plans have room on device, host and NVMe of a machine."""
        nvme = 0.0 if machine.nvme is None else machine.nvme.capacity_bytes.value
        return (
            (self.device <= int(machine.device.memory_bytes.value))
            & (self.host <= int(machine.host.memory_bytes.value))
            & (self.nvme <= int(nvme))
        )

    def needed(self, place: Place) -> Bytes:
        """Bytes at one place."""
        return {Place.DEVICE: self.device, Place.HOST: self.host, Place.NVME: self.nvme}[place]

    @cached_property
    def kin(self) -> Numbers:
        """Equal numbers for plans whose programs are equal: they differ in load only."""
        first: dict[object, int] = {}
        keys = ((c.plan, _without_load(c.recipe)) for c in self.cores)
        family = np.array([first.setdefault(key, len(first)) for key in keys], dtype=np.int64)
        place = self.residents * (int(self.slots.max()) + 1) + self.slots
        return family[self.core] * (int(place.max()) + 1) + place


def _of_core(number: int, case: Case, space: Space) -> dict[str, NDArray[Any]]:
    shape = Shape.of(case.model)
    rows, columns = _distinct(shape, case.plan.policy, space.residents, space.slots)
    bytes_of = rooms(
        case.model,
        case.plan,
        case.recipe,
        context_bytes=int(case.machine.device.context_bytes.value),
        residents=space.residents,
        slots=space.slots,
    )
    bounds = bounds_s(case, residents=space.residents, slots=space.slots)
    return {
        "core": np.full(len(rows), number, dtype=np.int64),
        "residents": np.array(space.residents, dtype=np.int64)[rows],
        "slots": np.array(space.slots, dtype=np.int64)[columns],
        "bound_s": bounds[rows, columns],
        "device": bytes_of.device[rows, columns],
        "host": bytes_of.host[rows, columns],
        "nvme": bytes_of.nvme[rows, columns],
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


def _without_load(recipe: Recipe) -> Recipe:
    return replace(recipe, batch=1, sequence=1, microbatches=1, samples=1)
