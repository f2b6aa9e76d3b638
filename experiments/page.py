"""The planner page: one HTML file with sliders that works without a network.

python -m experiments.page --out page.html
python -m experiments.page --models opt-13b llama-3-8b --out page.html
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from experiments.case.model import model_of
from experiments.cli import DONE, run, write_file
from experiments.planner.document import StoredModel, page
from experiments.planner.stored import stored_machines, stored_model
from experiments.screen import tracked
from zo2sim.machines.catalogue import names
from zo2sim.machines.file import resolve
from zo2sim.machines.machine import Machine
from zo2sim.models.presets import every, resolve_config


@dataclass(frozen=True, kw_only=True)
class Config:
    """The planner page: one HTML file with sliders that works without a network."""

    out: Path = Path("page.html")
    """The file to write."""
    models: tuple[str, ...] = every()
    """Models to choose from: presets, or a folder or config.json; all presets take two minutes."""
    machines: tuple[str, ...] = names()
    """Machines to choose from: of the catalogue, or TOML files of machines with a card."""


def main(config: Config) -> int:
    machines = [resolve(name) for name in config.machines]
    known = list(_known(machines))
    models = list(_models(config.models, machines))
    text = page(known, models, served=False, date=date.today().isoformat())
    write_file(config.out, text.encode())
    print(
        f"{config.out}: {len(models)} models on {len(machines)} machines, {len(text) / 1e6:.2f} MB"
    )
    return DONE


def _known(machines: list[Machine]) -> Iterator[Any]:
    return tracked(stored_machines(machines), "machines", total=len(machines))


def _models(names: tuple[str, ...], machines: list[Machine]) -> Iterator[StoredModel]:
    found = (stored_model(model_of(n), machines, resolve_config(n)) for n in names)
    return tracked(found, "models", total=len(names))


if __name__ == "__main__":
    sys.exit(run(main, Config))
