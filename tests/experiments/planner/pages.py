"""A small page for the tests: two models on three machines, of two of which there are computers
with several cards, made once."""

import re
from functools import cache

from experiments.planner.computers import computers
from experiments.planner.document import page
from experiments.planner.stored import of_tables, stored_computers
from experiments.planner.tables import Steps, tables
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
DATE = "2026-01-01"


@cache
def small_page(*, served: bool = False) -> str:
    """The text of the file."""
    machines = list(stored_computers(COMPUTERS))
    models = [of_tables(name, small_tables(name), resolve_config(name)) for name in MODELS]
    return page(machines, models, served=served, date=DATE)


@cache
def small_tables(name: str = MODELS[0]) -> tuple[Steps, ...]:
    """All formats of a model."""
    return tuple(tables(resolve(name), COMPUTERS))


def element(text: str, start: str, end: str) -> str:
    """What stands between two marks."""
    found = re.search(re.escape(start) + "(.*?)" + re.escape(end), text, re.DOTALL)
    assert found is not None, start
    return found[1]
