"""Schedules written by hand, in the text form of `zo2sim.schedule.text` without its first line."""

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
        flush=schedule(flush),
        evaluate=schedule(evaluate),
    )
