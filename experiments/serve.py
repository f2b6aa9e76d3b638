"""The planner page with the engine behind it, on this computer alone.

python -m experiments.serve
"""

import contextlib
import sys
from dataclasses import dataclass
from datetime import date

from experiments.cli import DONE, run
from experiments.planner.computers import computers
from experiments.planner.document import StoredModel, page
from experiments.planner.machines import Known
from experiments.planner.server import LOOPBACK, Engine, server
from zo2sim.machines.catalogue import names
from zo2sim.machines.file import resolve
from zo2sim.models.presets import every


@dataclass(frozen=True, kw_only=True)
class Config:
    """The planner page with the engine behind it: exact answers, and any config.json."""

    port: int = 8420
    """Port of the loopback address to listen on; 0: any that is free."""
    machines: tuple[str, ...] = names()
    """Machines to choose from: of the catalogue, or TOML files of machines with a card."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port must be from 0 to 65535; got {self.port}")


def main(config: Config) -> int:
    machines = computers(map(resolve, config.machines))
    models = [StoredModel(content={"name": name, "config": None}, numbers="") for name in every()]
    known = [Known(computer=computer, typical={}).content for computer in machines]
    text = page(known, models, served=True, date=date.today().isoformat())
    engine = Engine(computers=machines, models=every())
    with (
        server(text, engine, port=config.port) as listening,
        contextlib.suppress(KeyboardInterrupt),
    ):
        port = listening.server_address[1]
        print(f"http://{LOOPBACK}:{port}/ has the page; Ctrl-C ends it", flush=True)
        listening.serve_forever()
    return DONE


if __name__ == "__main__":
    sys.exit(run(main, Config))
