"""Inverse questions of `plan`: what is needed for a speed, and what a run costs.

Each answer is a table for the screen and plain data for JSON. Searches vary every axis of a plan
that nobody fixed, and leave the recipe as it is.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.answer.trust import Trust, with_band
from experiments.case.sizes import show_bytes, show_number
from experiments.case.target import plan_flags
from experiments.cli import Answer
from experiments.screen import headed, pairs, tracked, working
from zo2sim.checks import positive
from zo2sim.memory.account import MemoryPlace
from zo2sim.plan.file import fields_of
from zo2sim.predict.case import Case
from zo2sim.predict.predict import Prediction, predict
from zo2sim.search.least_link import LeastLink, least_link
from zo2sim.search.least_memory import LeastMemory, Unreachable, least_memory
from zo2sim.search.search import Found
from zo2sim.search.space import PlanSpace, plan_axes

GIGA = 1e9
_POINT = "What is needed is a point prediction; bands are of what it gives."


def told(table: Table, content: Mapping[str, Any], *, yes: bool) -> Answer:
    """An answer that is a table on the screen; the answer is no where nothing reaches or fits."""
    return Answer(content, lambda: Console().print(table), yes=yes)


def target(base: Case, tokens_per_s: float, fixed: Collection[str] = ()) -> Answer:
    """The least device memory, host memory and link with which some plan reaches the target."""
    space = PlanSpace(base=base, axes=plan_axes(base, fixed=fixed))
    title = f"to reach {show_number(tokens_per_s)} tokens/s{kept(base, fixed)}, at least"
    table = headed("", "needed", "verdict", title=title)
    table.caption, table.caption_justify = _POINT, "left"
    content: dict[str, Any] = {
        "tokens_per_s": tokens_per_s,
        "fixed": {name: getattr(base.plan, name) for name in sorted(fixed)},
    }
    yes = True
    for place in tracked((MemoryPlace.DEVICE, MemoryPlace.HOST), "least memory", total=2):
        found = least_memory(space, place, tokens_per_s)
        content[f"{place}_memory"] = _memory_content(found)
        yes &= isinstance(found, LeastMemory)
        _add_memory(table, f"{place} memory", found, base)
    with working("least link"):
        link = least_link(space, tokens_per_s)
    content["link"] = _link_content(link)
    _add_link(table, link, base)
    return told(table, content, yes=yes or isinstance(link, LeastLink))


def kept(base: Case, fixed: Collection[str]) -> str:
    """What of the plan a search leaves as it is, as the end of a title."""
    values = [f"{name}={getattr(base.plan, name)}" for name in sorted(fixed)]
    return f" with {', '.join(values)}" if values else ""


def run_length(prediction: Prediction, tokens: float, watts: float | None) -> Answer:
    """Hours for as many tokens in the steady state, and energy where the power is given."""
    hours = hours_for(tokens, prediction.tokens_per_s)
    kwh = None if watts is None else hours * positive("--watts", watts) / 1e3
    steps = tokens / prediction.case.recipe.tokens_per_step
    trust = Trust.of(prediction)
    ends = _hours_band(tokens, trust)
    shown = with_band(hours, *ends, lambda value: f"{value:,.4g} hours")
    energy = "unknown: give the power with --watts" if kwh is None else f"{kwh:,.4g} kWh"
    rows = (
        (f"{tokens:g} tokens", f"{shown}, {steps:,.4g} steps"),
        ("hold-out error", trust.words["hold_out_error"]),
        ("energy", energy),
    )
    content = {
        "tokens": tokens,
        "hours": hours,
        "hours_band": list(ends),
        "steps": steps,
        "kwh": kwh,
        "watts": watts,
    }
    return told(pairs(rows), content, yes=prediction.fit)


def _hours_band(tokens: float, trust: Trust) -> tuple[float, float]:
    fast, slow = trust.band.high_tokens_per_s, trust.band.low_tokens_per_s
    return hours_for(tokens, fast), hours_for(tokens, slow)


def hours_for(tokens: float, tokens_per_s: float) -> float:
    """Raises ``ValueError`` unless the number of tokens is above 0."""
    if not 0.0 < tokens < float("inf"):
        raise ValueError(f"--tokens must be above 0 and finite; got {tokens:g}")
    return tokens / tokens_per_s / 3600.0


def _add_memory(table: Table, name: str, found: LeastMemory | Unreachable, base: Case) -> None:
    if isinstance(found, Unreachable):
        table.add_row(name, "no amount is enough", _at_most(found.tokens_per_s))
        return
    below = "no plan needs less"
    if found.below_tokens_per_s:
        below = f"with less: {_at_most(found.below_tokens_per_s)}"
    table.add_row(name, show_bytes(found.num_bytes), f"{_reached(found.at, base)}\n{below}")


def _add_link(table: Table, found: LeastLink | Unreachable, base: Case) -> None:
    if isinstance(found, Unreachable):
        table.add_row("link", "no link is enough", _at_most(found.tokens_per_s))
        return
    own = base.machine.link.h2d_bytes_per_s.value / GIGA
    below = "even that is more than enough"
    if found.below is not None:
        below = (
            f"at {found.below.factor * own:.3g} GB/s: {_at_most(found.below.tokens_per_s)}; "
            f"ruled out up to {(found.never or 0.0) * own:.3g} GB/s"
        )
    needed = f"{found.h2d_bytes_per_s / GIGA:.3g} GB/s\n({found.factor:.3g} x its own)"
    table.add_row("link, to the device", needed, f"{_reached(found.at, base)}\n{below}")


def _reached(found: Found, base: Case) -> str:
    flags = " ".join(plan_flags(found.case, base.recipe))
    return f"{with_band(found.tokens_per_s, *_band(found), _speed)} with {escape(flags)}"


@lru_cache(maxsize=8)  # each is shown and written
def _band(found: Found) -> tuple[float, float]:
    """The 90 % band of a plan's tokens per second."""
    return Trust.of(predict(found.case)).tokens_per_s_band


def _at_most(tokens_per_s: float) -> str:
    return f"at most {_speed(tokens_per_s)}"


def _speed(tokens_per_s: float) -> str:
    return f"{show_number(tokens_per_s)} tokens/s"


def _memory_content(found: LeastMemory | Unreachable) -> dict[str, Any]:
    if isinstance(found, Unreachable):
        return {"bytes": None, "at_most_tokens_per_s": found.tokens_per_s}
    return {
        "bytes": found.num_bytes,
        "below_at_most_tokens_per_s": found.below_tokens_per_s,
        **_found_content(found.at),
    }


def _link_content(found: LeastLink | Unreachable) -> dict[str, Any]:
    if isinstance(found, Unreachable):
        return {"factor": None, "at_most_tokens_per_s": found.tokens_per_s}
    return {
        "factor": found.factor,
        "h2d_bytes_per_s": found.h2d_bytes_per_s,
        "fails_at_factor": None if found.below is None else found.below.factor,
        "below_at_most_tokens_per_s": 0.0 if found.below is None else found.below.tokens_per_s,
        "ruled_out_up_to_factor": found.never,
        **_found_content(found.at),
    }


def _found_content(found: Found) -> dict[str, Any]:
    return {
        "plan": fields_of(found.case.plan),
        "tokens_per_s": found.tokens_per_s,
        "tokens_per_s_band": list(_band(found)),
    }
