"""The flags that every command which asks about a case shares, and a plan as such flags."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from experiments.case.sizes import parse_bytes
from experiments.case.spec import Spec
from experiments.cli import read_text
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.file import parse
from zo2sim.predict.case import Case


@dataclass(frozen=True, kw_only=True)
class Site:
    """A model and a machine with what may be used of it."""

    model: str = "opt-13b"
    """Preset, or a folder or config.json in Hugging Face's format."""
    machine: str = "a100-pcie-80gb"
    """Machine of the catalogue, or a TOML file."""
    device_memory: str | None = None
    """Device memory to plan for, e.g. 18GB or 24GiB; otherwise the machine's."""
    host_memory: str | None = None
    """Host memory to plan for; otherwise the machine's."""

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
    """Model, machine, plan and recipe."""

    plan: Plan
    recipe: Recipe
    plan_file: Annotated[Path | None, tyro.conf.arg(name="plan")] = None
    """Read plan and recipe from this TOML file instead of flags."""

    @property
    def chosen(self) -> tuple[Plan, Recipe]:
        """Plan and recipe of the file, or of the flags; ``ValueError`` where both are given."""
        if self.plan_file is None:
            return self.plan, self.recipe
        if (self.plan, self.recipe) != (Plan(), Recipe()):
            raise ValueError(f"give --plan {self.plan_file} or the flags of a plan, not both")
        return parse(read_text(self.plan_file), where=str(self.plan_file))

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


def plan_flags(case: Case, recipe: Recipe) -> tuple[str, ...]:
    """What differs from the defaults of a plan, and from ``recipe``; the policy always."""
    return (f"--policy {case.plan.policy}", *_plan(case.plan), *_recipe(case.recipe, recipe))


def _plan(plan: Plan) -> Iterator[str]:
    default = Plan(policy=plan.policy)
    for f in fields(Plan):
        value = getattr(plan, f.name)
        if value != getattr(default, f.name):
            yield _flag(f.name, value)


def _recipe(recipe: Recipe, usual: Recipe) -> Iterator[str]:
    for f in fields(Recipe):
        value = getattr(recipe, f.name)
        if value != getattr(usual, f.name):
            yield _flag(f.name, value)


def _flag(name: str, value: object) -> str:
    flag = f"--{name.replace('_', '-')}"
    return f"{flag} {str(value).lower() if isinstance(value, bool) else value}"
