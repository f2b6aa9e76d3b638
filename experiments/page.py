"""The planner page: one HTML file with sliders that works without a network.

    python -m experiments.page --out page.html
    python -m experiments.page --models opt-13b llama-3-8b --out page.html

What is known of a model is kept beside the page until that is whole, so the same command goes on.
"""

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import repeat
from pathlib import Path

from analysis.report.wording import counted
from experiments.case.model import model_of
from experiments.cli import DONE, run, write_file
from experiments.folder.provenance import code_version
from experiments.jobs.answers import Answers
from experiments.jobs.workers import Crew, chosen
from experiments.planner.computers import Computer, computers
from experiments.planner.document import StoredModel, page
from experiments.planner.stored import stored_computers, stored_model
from experiments.screen import tracked
from zo2sim.machines.catalogue import names
from zo2sim.machines.file import resolve
from zo2sim.models.presets import every, resolve_config
from zo2sim.models.shapes import Model

_STORED = "experiments.planner.stored"

Fields = Mapping[str, object] | None
"""Of a model's config.json, where it has one."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The planner page: one HTML file with sliders that works without a network."""

    out: Path = Path("page.html")
    """The file to write."""
    models: tuple[str, ...] = every()
    """Models to choose from: presets, or a folder or config.json; all presets take minutes."""
    machines: tuple[str, ...] = names()
    """Machines to choose from: of the catalogue, or TOML files of machines with a card."""
    jobs: int | None = None
    """Worker processes, a model each at a time; None: one per core."""


def main(config: Config) -> int:
    machines = computers(map(resolve, config.machines))
    models = [(model_of(name), resolve_config(name)) for name in config.models]
    known = [*tracked(stored_computers(machines), "machines", total=len(machines))]
    crew = chosen(jobs=config.jobs, most=len(models))
    with Answers(config.out.with_name(f"{config.out.name}.answers.jsonl")) as kept:
        stored = [*tracked(_stored(models, machines, crew, kept), "models", total=len(models))]
    text = page(known, stored, served=False, date=date.today().isoformat())
    write_file(config.out, text.encode())
    kept.path.unlink()
    counts = f"{counted(len(stored), 'model')} on {counted(len(config.machines), 'machine')}"
    if len(machines) > len(config.machines):
        counts += f", with up to {machines[-1].cards} cards"
    print(f"{config.out}: {counts}, {len(text.encode()) / 1e6:.2f} MB")
    return DONE


def _stored(
    models: Sequence[tuple[Model, Fields]],
    machines: Sequence[Computer],
    crew: Crew,
    kept: Answers,
) -> Iterator[StoredModel]:
    """In order, each as soon as it and those before it are there; what is kept is not made anew."""
    keys = [_key(model, machines) for model, _ in models]
    made = _made(
        [m for m, key in zip(models, keys, strict=True) if key not in kept], machines, crew
    )
    for number, key in enumerate(keys):
        if key not in kept:
            try:
                one = next(made)
            except KeyboardInterrupt:
                so_far = f"{number} of {counted(len(models), 'model')}"
                raise KeyboardInterrupt(
                    f"interrupted; the same command goes on after {so_far}"
                ) from None
            kept.add(key, {"content": one.content, "numbers": one.numbers})
        yield StoredModel(**kept[key])


def _key(model: Model, machines: Sequence[Computer]) -> str:
    """What is kept is of the same shapes and machines, made by the same code."""
    asked = model, machines, code_version(_STORED)
    return hashlib.sha256(repr(asked).encode()).hexdigest()


def _made(
    models: Sequence[tuple[Model, Fields]], machines: Sequence[Computer], crew: Crew
) -> Iterator[StoredModel]:
    if crew.num_workers == 1 or not models:  # one alone would answer all before it gives the first
        yield from (stored_model(model, machines, fields) for model, fields in models)
        return
    with crew.open() as executor:
        asked, fields = zip(*models, strict=True)
        yield from executor.map(stored_model, asked, repeat(machines), fields)


if __name__ == "__main__":
    sys.exit(run(main, Config))
