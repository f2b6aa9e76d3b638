"""Plans and recipes that make an engine use every stream and every kind of buffer."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.families import BLOCKS
from tests.thorough import THOROUGH
from tests.zo2rt.engine.engine_runs import recipe
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Program


class Case(NamedTuple):
    """What an engine is told."""

    plan: Plan
    recipe: Recipe

    @property
    def program(self) -> Program:
        """Of the tiny OPT, whose head and tail share a matrix."""
        return build(Shape(num_blocks=BLOCKS, tied=True), self.plan, self.recipe)

    @contextmanager
    def folder(self) -> Iterator[Path | None]:
        """Where blocks on NVMe live while the context lasts."""
        with TemporaryDirectory() as folder:
            yield Path(folder) if self.plan.tier == "nvme" else None


_NARROW = Recipe(storage_dtype=Dtype.FP32, wire_dtype=Dtype.FP8, compute_dtype=Dtype.FP32)

DEVICES = {
    "ring of two": Case(Plan(devices=2), recipe()),
    "ring of four, in groups": Case(
        Plan(devices=4, lane_groups=2, scratch_copies=2), recipe(microbatches=2)
    ),
    "ring of two, write-back every 2": Case(Plan(devices=2, write_back_every=2), recipe()),
    "ring of two, host_update": Case(Plan(policy=Policy.HOST_UPDATE, devices=2), recipe()),
    "whole on two": Case(Plan(devices=2, placement="whole"), recipe()),
    "whole on four": Case(Plan(devices=4, placement="whole"), recipe(microbatches=2)),
    "sliced on two": Case(Plan(devices=2, placement="sliced"), recipe()),
}
"""The same of several devices."""

CASES = {
    "resident": Case(Plan(policy=Policy.RESIDENT), recipe()),
    "naive": Case(Plan(policy=Policy.NAIVE), recipe()),
    "dual": Case(Plan(policy=Policy.DUAL), recipe()),
    "zo2": Case(Plan(), recipe()),
    "zo2, one slot, both at once": Case(Plan(num_slots=1, scratch_copies=2), recipe()),
    "zo2, write-back every 2": Case(Plan(write_back_every=2, num_slots=3), recipe()),
    "zo2, one block resident": Case(Plan(resident_blocks=1), recipe()),
    "zo2, in place": Case(Plan(), recipe(perturbation="in_place")),
    "zo2, blocks on NVMe": Case(Plan(tier="nvme"), recipe()),
    "host_update": Case(Plan(policy=Policy.HOST_UPDATE), recipe()),
    "host_update, narrow wire": Case(Plan(policy=Policy.HOST_UPDATE), _NARROW),
    **DEVICES,
}

_CROSSED = ("ring of two, write-back every 2", "ring of two, host_update", "whole on four")
TRIED = {name: CASES[name] for name in CASES if THOROUGH or name not in _CROSSED}
"""Less what combines two others, where not all are wanted."""
