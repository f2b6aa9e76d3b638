"""Flags as they were typed: those that nothing would read are refused, whatever they say."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, Protocol, Self, runtime_checkable

import tyro

from zo2sim.plan.choices import Plan, Recipe


@runtime_checkable
class Particular(Protocol):
    """Settings of a command some of whose flags have no effect beside others."""

    def typed(self, flags: frozenset[str]) -> Self:
        """The settings, told which flags were typed; ``ValueError`` where one has no effect."""
        ...


def explained(kind: type) -> Any:
    """Of a group of flags, its class's own docstring as what a help text says, for an annotation.

    Without it the parser looks for one in the source of the command, whatever was asked for.
    """
    return tyro.conf.arg(help=kind.__doc__)


def typed(argv: Sequence[str] | None) -> frozenset[str]:
    """The flags of a command line, ``--num-slots`` for ``--num_slots=3``, without their values."""
    words = sys.argv[1:] if argv is None else argv
    return frozenset(
        word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--")
    )


def without(flags: frozenset[str], axes: Iterable[str], *, by: str) -> None:
    """Raise ``ValueError`` where a flag gives a field one value, and an axis gives it others."""
    names = {f"--{axis.partition('=')[0].strip().replace('_', '-')}" for axis in axes}
    refuse(flags, names, f"beside {by}, which gives its values")


def flag_of(kind: type[Plan] | type[Recipe], field: str) -> str:
    """The flag of a field; one that is on by itself has a flag that switches it off."""
    on = next(f.default for f in fields(kind) if f.name == field) is True
    return f"--{'no-' if on else ''}{field.replace('_', '-')}"


PLAN = {flag_of(Plan, f.name): f.name for f in fields(Plan)}
"""Fields of a plan by their flags."""
RECIPE = {flag_of(Recipe, f.name): f.name for f in fields(Recipe)}
"""Fields of a recipe by their flags."""


def refuse(flags: frozenset[str], names: Iterable[str], why: str) -> None:
    """Raise ``ValueError`` where a flag of ``names`` was typed: it has no effect, ``why`` says."""
    idle = sorted(flags.intersection(names))
    if idle:
        raise ValueError(
            f"{', '.join(idle)} {'has' if len(idle) == 1 else 'have'} no effect {why}; "
            f"leave {'it' if len(idle) == 1 else 'them'} out"
        )
