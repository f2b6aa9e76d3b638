"""A case by name: what a command asks, as plain data that can be hashed, stored and sent."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiments.case.model import model_of
from zo2sim.machines.file import resolve as resolve_machine
from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import replace_all, scale_link
from zo2sim.plan.choices import Plan, Recipe, of_policy
from zo2sim.plan.file import fields_of
from zo2sim.predict.case import Case, asked

LINK_SCALE = "link.scale"
LINK_DUPLEX = "link.duplex"
LINK_PCIE = "link.pcie"
PCIE_GENERATIONS: Mapping[int, str] = {
    3: "v100-sxm-32gb",
    4: "a100-pcie-80gb",
    5: "h100-sxm-80gb",
}
"""Machines of the catalogue whose link stands for a generation of PCIe, 16 lanes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Model and machine by name or path, machine constants changed for a what-if, plan, recipe.

    A change is a dotted constant with its new value, or `LINK_SCALE`, a factor for every rate of
    the link, or `LINK_DUPLEX`, 1 for both directions at once as fast as one alone, or `LINK_PCIE`,
    the generation whose link the machine gets; it keeps its own where that is its generation.
    """

    model: str
    machine: str
    plan: Plan
    recipe: Recipe
    changes: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipe", of_policy(self.plan, self.recipe))

    @property
    def fields(self) -> dict[str, Any]:
        """Every setting, flat; changed machine constants by their dotted key."""
        return {
            "model": self.model,
            "machine": self.machine,
            **fields_of(self.plan),
            **asdict(self.recipe),
            **dict(self.changes),
        }

    @property
    def config_hash(self) -> str:
        """Identifies the question: 16 hexadecimal digits of SHA-256.

        Over the settings, and over the content of files that they name.
        """
        contents = {name: _digest(name) for name in (self.model, self.machine)}
        text = json.dumps([self.fields, contents], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def model_elements(self) -> int:
        """Parameters of the model as it is named, whatever the policy makes of it."""
        return model_of(self.model).elements

    def case(self) -> Case:
        """Load what the names stand for. Raises ``ValueError`` for an unknown name or key, and as
        `asked` does."""
        machine = _machine(self.machine, self.changes)
        return asked(model_of(self.model), machine, self.plan, self.recipe)


@lru_cache(maxsize=64)
def _digest(name: str) -> str | None:
    """SHA-256 of the file, or of the folder's config.json; None for a name that is neither."""
    try:
        path = Path(name) / "config.json" if Path(name).is_dir() else Path(name)
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError):  # ValueError: a null character
        return None


@lru_cache(maxsize=1024)
def _machine(name: str, changes: tuple[tuple[str, float], ...]) -> Machine:
    machine, values = resolve_machine(name), dict(changes)
    if LINK_PCIE in values:
        machine = _with_pcie(machine, values.pop(LINK_PCIE))
    if LINK_SCALE in values:
        machine = scale_link(machine, values.pop(LINK_SCALE))
    if values.pop(LINK_DUPLEX, 0.0):
        link = machine.link
        values["link.both_h2d_bytes_per_s"] = link.h2d_bytes_per_s.value
        values["link.both_d2h_bytes_per_s"] = link.d2h_bytes_per_s.value
    return replace_all(machine, values, source="set for a what-if")


def _with_pcie(machine: Machine, generation: float) -> Machine:
    if generation not in PCIE_GENERATIONS:
        known = ", ".join(map(str, PCIE_GENERATIONS))
        raise ValueError(f"{LINK_PCIE} must be one of {known}; got {generation:g}")
    if pcie_generation(machine) == generation:
        return machine
    donor = resolve_machine(PCIE_GENERATIONS[int(generation)])
    return dataclasses.replace(machine, link=donor.link)


def pcie_generation(machine: Machine) -> int:
    """The generation whose upload rate is nearest to the machine's, as a ratio."""

    def distance(generation: int) -> float:
        rate = resolve_machine(PCIE_GENERATIONS[generation]).link.h2d_bytes_per_s.value
        return abs(math.log(machine.link.h2d_bytes_per_s.value / rate))

    return min(PCIE_GENERATIONS, key=distance)
