"""Schedules written by hand, in the text form of `zo2sim.schedule.text` without its first line."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from zo2sim.schedule.ops import Program, Schedule
from zo2sim.schedule.text import parse


def schedule(*lines: str, steps: int = 1) -> Schedule:
    """One operation per line."""
    return parse("\n".join((f"schedule handmade steps={steps}", *lines)))


def program(
    period: str, *, prologue: str | None = None, flush: str = "", evaluate: str = ""
) -> Program:
    """The prologue is the period unless it is given; its edges to a period before it vanish."""
    return Program(
        prologue=schedule(period if prologue is None else prologue),
        period=schedule(period),
        flushing=lambda: schedule(flush),
        evaluating=lambda: schedule(evaluate),
    )


def with_parts(whole: Program, parts: Mapping[str, Schedule]) -> Program:
    """The program with other schedules in the place of some of its four."""
    made = {"flush": "flushing", "evaluate": "evaluating"}
    changed: dict[str, Any] = {
        made.get(part, part): (lambda one=one: one) if part in made else one
        for part, one in parts.items()
    }
    return replace(whole, **changed)
