"""`--plan auto`: the fastest plan that is predicted to fit and that the runtime executes."""

from collections.abc import Mapping
from typing import Any

from zo2rt.steps.supported import unsupported
from zo2sim.machines.machine import Machine
from zo2sim.models.config import from_config
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.search import search as chooser


def choose(config: Mapping[str, Any], machine: Machine, recipe: Recipe, *, name: str) -> Plan:
    """The chosen plan; ``config`` is the model's config.json.

    Raises ``ValueError`` where no plan fits, saying what the smallest ones need.
    """
    model = from_config(config, name=name)
    return chooser.choose(
        model,
        machine,
        chooser.Limits(),
        recipe,
        allowed=lambda plan, recipe: unsupported(plan, recipe) is None,
    )
