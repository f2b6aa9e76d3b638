"""Print a schedule, or prove that it is free of races and does all that its model asks.

python -m experiments.verify --policy zo2 --num-slots 3 --blocks 4 --show
python -m experiments.verify --file schedule.txt
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from experiments.case.target import refuse_unread
from experiments.cli import Answer, finish, run
from experiments.entry.flags import PLAN, RECIPE, refuse
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Layout, Shape, build
from zo2sim.policies.proof import hazards
from zo2sim.reading import read_text
from zo2sim.schedule.ops import Program, Schedule
from zo2sim.schedule.text import brief, dump, parse
from zo2sim.schedule.verify import Hazard, verify

_MOST_VISITS = 10_000  # blocks in a period
_PROVED = {
    False: "every pair of conflicting accesses is ordered",
    True: "every pair of conflicting accesses is ordered; every lane passes every unit, every "
    "record is applied once to each, and every change is written back",
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Print a schedule, or prove it free of races, and of a policy complete.

    Exit code 3: a hazard was found.
    """

    plan: Plan
    recipe: Recipe
    blocks: int = 4
    """Blocks of the model."""
    tied: bool = False
    """The LM head shares the embedding's weight."""
    file: Path | None = None
    """Check the schedule of a text file instead (the period of a program) for races."""
    show: bool = False
    """Print the names and edges of the period."""
    text: bool = False
    """Print the period's text form, which --file reads."""
    json: str | None = None
    """Write the answer as JSON to this file, or to stdout with '-'."""

    def typed(self, flags: frozenset[str]) -> Self:
        """Refuse what a file leaves nothing to say about, and sizes, which no schedule knows."""
        if self.file is not None:
            refuse(flags, {*PLAN, *RECIPE, "--blocks", "--tied"}, "with --file")
        if self.json == "-":
            refuse(flags, ("--show", "--text"), "with --json -, which takes stdout")
        refuse(flags, ("--batch", "--sequence", "--pinning"), "on the order of a schedule")
        refuse_unread(flags, self.plan)
        return self


def main(config: Config) -> int:
    program, hazards = _proved(config)
    answer = Answer(
        _summary(program, hazards), lambda: _print(config, program, hazards), yes=not hazards
    )
    return finish(answer, config.json)


def _nothing() -> Schedule:
    return Schedule(name="nothing", ops=())


def _proved(config: Config) -> tuple[Program, tuple[Hazard, ...]]:
    if config.file is not None:  # a file holds a period alone, and no model
        period = parse(read_text(config.file), where=str(config.file))
        program = Program(prologue=period, period=period, flushing=_nothing, evaluating=_nothing)
        return program, verify(program)
    if config.blocks * config.plan.write_back_every > _MOST_VISITS:
        raise ValueError(
            f"--blocks times --write-back-every must be at most {_MOST_VISITS}; "
            f"got {config.blocks} and {config.plan.write_back_every}"
        )
    shape = Shape(num_blocks=config.blocks, tied=config.tied)
    layout = Layout(shape=shape, plan=config.plan, recipe=config.recipe)
    return build(shape, config.plan, config.recipe), hazards(layout)


def _summary(program: Program, hazards: tuple[Hazard, ...]) -> dict[str, object]:
    return {
        "schedule": program.period.name,
        "steps": program.period.steps,
        "num_ops": len(program.period.ops),
        "num_edges": sum(len(op.after) for op in program.period.ops),
        "hazards": [str(hazard) for hazard in hazards],
    }


def _print(config: Config, program: Program, hazards: tuple[Hazard, ...]) -> None:
    if config.show:
        print(brief(program.period))
    if config.text:
        print(dump(program.period), end="")
    for hazard in hazards:
        print(hazard)
    if not hazards and not (config.show or config.text):
        edges = sum(len(op.after) for op in program.period.ops)
        print(
            f"{program.period.name}: {len(program.period.ops)} operations, {edges} edges, "
            f"no hazard: {_PROVED[config.file is None]}"
        )


if __name__ == "__main__":
    sys.exit(run(main, Config))
