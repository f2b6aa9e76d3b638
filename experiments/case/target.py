"""The flags that every command which asks about a case shares, and a plan as such flags."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, ClassVar, Self

import tyro

from experiments.case.model import model_of
from experiments.case.sizes import parse_bytes
from experiments.case.spec import Spec
from experiments.entry.flags import PLAN, RECIPE, explained, flag_of, refuse
from zo2sim.machines.file import resolve
from zo2sim.models.presets import storage_of
from zo2sim.plan.choices import Plan, Recipe, of_policy
from zo2sim.plan.file import read
from zo2sim.plan.refusals import unread
from zo2sim.predict.case import Case, of_usual_devices, of_usual_length

_SEVERAL = ("all",)  # what stands for several machines, each of which has one device
SITE = ("--model", "--machine", "--device-memory", "--host-memory")


@dataclass(frozen=True, kw_only=True)
class Site:
    """A model and a machine with what may be used of it."""

    NAMED: ClassVar = ("--model", "--machine")
    """Flags whose values may stand alone, before all others."""
    model: str = "opt-13b"
    """Preset, or a folder or config.json in Hugging Face's format."""
    machine: str = "a100-pcie-80gb"
    """Machine of the catalogue, or a TOML file; for plan also 'all', which compares them."""
    device_memory: str | None = None
    """Device memory to plan for, e.g. 18GB or 24GiB; otherwise the machine's."""
    host_memory: str | None = None
    """Host memory to plan for; otherwise the machine's."""

    @property
    def site_flags(self) -> Iterator[str]:
        """The flags for a shell: model and machine always, amounts of memory where given."""
        for flag in SITE:
            value: str | None = getattr(self, flag[2:].replace("-", "_"))
            if value is not None:
                yield f"{flag} {shlex.quote(value)}"

    @property
    def changes(self) -> tuple[tuple[str, float], ...]:
        """Machine constants that the flags change. Raises ``ValueError`` where one is no size."""
        sizes = (
            ("device.memory_bytes", "--device-memory", self.device_memory),
            ("host.memory_bytes", "--host-memory", self.host_memory),
        )
        return tuple(
            (key, parse_bytes(text, flag=flag)) for key, flag, text in sizes if text is not None
        )


@dataclass(frozen=True, kw_only=True)
class Target(Site):
    """Model, machine, plan and recipe. ``given`` are the flags that were typed."""

    plan: Annotated[Plan, explained(Plan)]
    recipe: Annotated[Recipe, explained(Recipe)]
    plan_file: Annotated[Path | None, tyro.conf.arg(name="plan")] = None
    """Read plan and recipe from this TOML file instead of flags."""
    given: tyro.conf.Suppress[tyro.conf.Fixed[frozenset[str]]] = frozenset()

    def typed(self, flags: frozenset[str]) -> Self:
        """With the flags as ``given``; ``ValueError`` where one has no effect."""
        if self.plan_file is not None and flags & {*PLAN, *RECIPE}:
            raise ValueError(f"give --plan {self.plan_file} or the flags of a plan, not both")
        refuse_unread(flags, self._shared(flags))
        return replace(self, given=flags)

    def _shared(self, flags: frozenset[str]) -> Plan:
        """The plan with all devices of the machine, where it is said how they share the work and
        not how many do."""
        shared = flags & {"--placement", "--lane-groups"} and "--devices" not in flags
        if not shared or self.machine in _SEVERAL:
            return self.plan
        node = resolve(self.machine).node
        return self.plan if node is None else replace(self.plan, devices=node.devices)

    @property
    def fixed(self) -> frozenset[str]:
        """Fields of the plan that somebody chose, by a flag or in the file."""
        if self.plan_file is not None:
            return frozenset(PLAN.values())
        return frozenset(field for flag, field in PLAN.items() if flag in self.given)

    @property
    def chosen(self) -> tuple[Plan, Recipe]:
        """Plan and recipe of the file, or of the flags.

        A sequence that nobody chose is no longer than the model has positions. Blocks that are
        frozen stay in the integer format that the model's folder has them in, unless one is chosen.
        Devices that nobody chose are all that the machine has.
        """
        if self.plan_file is not None:
            return read(self.plan_file)
        recipe = self.recipe
        if "--sequence" not in self.given:
            recipe = of_usual_length(model_of(self.model), recipe)
        stored = storage_of(self.model)
        if stored is not None and recipe.frozen_blocks and "--storage-dtype" not in self.given:
            recipe = replace(recipe, storage_dtype=stored)
        if self.machine in _SEVERAL:
            return self.plan, recipe
        used = of_policy(self.plan, recipe)
        return of_usual_devices(resolve(self.machine), self.plan, used, self.fixed), recipe

    @property
    def spec(self) -> Spec:
        """The case by name. Raises ``ValueError`` where a size or the plan cannot be read."""
        plan, recipe = self.chosen
        return Spec(
            model=self.model,
            machine=self.machine,
            plan=plan,
            recipe=recipe,
            changes=self.changes,
        )


def refuse_unread(flags: frozenset[str], plan: Plan) -> None:
    """Raise ``ValueError`` where a flag means nothing with the plan's policy or its one device."""
    for flag, field in (PLAN | RECIPE).items():
        if field in unread(plan):
            refuse(flags, (flag,), f"with --{unread(plan)[field]}")


def plan_flags(case: Case, recipe: Recipe) -> tuple[str, ...]:
    """What differs from the defaults of a plan, and from ``recipe``; the policy always."""
    return (f"--policy {case.plan.policy}", *_plan(case.plan), *recipe_flags(case.recipe, recipe))


def _plan(plan: Plan) -> Iterator[str]:
    default = Plan(policy=plan.policy)
    for f in fields(Plan):
        value = getattr(plan, f.name)
        if f.name not in unread(plan) and value != getattr(default, f.name):
            yield _flag(flag_of(Plan, f.name), value)


def recipe_flags(recipe: Recipe, usual: Recipe) -> Iterator[str]:
    """What differs from another recipe."""
    for f in fields(Recipe):
        value = getattr(recipe, f.name)
        follows = f.name == "wire_dtype" and recipe.storage_dtype.is_integer
        if value != getattr(usual, f.name) and not follows:
            yield _flag(flag_of(Recipe, f.name), value)


def _flag(flag: str, value: object) -> str:
    return flag if isinstance(value, bool) else f"{flag} {value}"
