"""Small pages for the tests: few models on three machines, of two of which there are computers with
several cards; each made once."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from experiments.planner.computers import Computer, computers
from experiments.planner.document import page
from experiments.planner.stored import of_tables, stored_computers
from experiments.planner.tables import Steps, tables
from tests.thorough import THOROUGH
from zo2sim.machines.file import named
from zo2sim.models.presets import resolve, resolve_config

MODELS = ("opt-125m", "opt-6.7b")
MACHINES = tuple(map(named, ("rtx-3060-12gb", "a100-sxm-80gb", "rtx-4090-24gb")))
COMPUTERS = tuple(
    one
    for one in computers(MACHINES)
    if one.cards == 1 or (one.cards == 8) == (one.card == "a100-sxm-80gb")
)
"""Of each number of cards above 1, one."""
FEW = (
    COMPUTERS
    if THOROUGH
    else tuple(
        one
        for one in computers(MACHINES)
        if one.cards <= 2 or (one.cards == 4 and one.card == "a100-sxm-80gb")
    )
)
"""With a bus and with links of their own; few cards, whose programs are short."""
DATE = "2026-01-01"


@cache
def small_page(
    models: tuple[str, ...] = MODELS[:1],
    offered: tuple[Computer, ...] = FEW,
    *,
    served: bool = False,
) -> str:
    """The text of the file."""
    stored = [of_tables(name, small_tables(name, offered), resolve_config(name)) for name in models]
    return page(known(offered), stored, served=served, date=DATE)


@cache
def known(offered: tuple[Computer, ...]) -> Sequence[Mapping[str, Any]]:
    """What the page says of computers."""
    return tuple(stored_computers(offered))


@cache
def small_tables(name: str = MODELS[0], offered: tuple[Computer, ...] = FEW) -> tuple[Steps, ...]:
    """All formats of a model."""
    return tuple(tables(resolve(name), offered))


def element(text: str, start: str, end: str) -> str:
    """What stands between two marks."""
    found = re.search(re.escape(start) + "(.*?)" + re.escape(end), text, re.DOTALL)
    assert found is not None, start
    return found[1]
