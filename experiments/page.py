"""The planner page: one HTML file with sliders that works without a network.

python -m experiments.page --out page.html
python -m experiments.page --models opt-13b llama-3-8b --out page.html
"""

import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from analysis.report.wording import counted
from experiments.case.model import model_of
from experiments.cli import DONE, run, write_file
from experiments.planner.computers import computers
from experiments.planner.document import page
from experiments.planner.stored import stored_computers, stored_model
from experiments.screen import tracked
from zo2sim.machines.catalogue import names
from zo2sim.machines.file import resolve
from zo2sim.models.presets import every, resolve_config


@dataclass(frozen=True, kw_only=True)
class Config:
    """The planner page: one HTML file with sliders that works without a network."""

    out: Path = Path("page.html")
    """The file to write."""
    models: tuple[str, ...] = every()
    """Models to choose from: presets, or a folder or config.json; all presets take minutes."""
    machines: tuple[str, ...] = names()
    """Machines to choose from: of the catalogue, or TOML files of machines with a card."""


def main(config: Config) -> int:
    machines = computers(map(resolve, config.machines))
    models = [(model_of(name), resolve_config(name)) for name in config.models]
    known = [*tracked(stored_computers(machines), "machines", total=len(machines))]
    found = (stored_model(model, machines, fields) for model, fields in models)
    stored = [*tracked(found, "models", total=len(models))]
    text = page(known, stored, served=False, date=date.today().isoformat())
    write_file(config.out, text.encode())
    counts = f"{counted(len(stored), 'model')} on {counted(len(config.machines), 'machine')}"
    if len(machines) > len(config.machines):
        counts += f", with up to {machines[-1].cards} cards"
    print(f"{config.out}: {counts}, {len(text.encode()) / 1e6:.2f} MB")
    return DONE


if __name__ == "__main__":
    sys.exit(run(main, Config))
