"""Will it fit, how fast, what limits it, what to change first; and the same backwards.

python -m experiments.plan --model opt-175b --machine rtx-4090-24gb --device-memory 18GB
python -m experiments.plan --model opt-13b --target-tokens-per-s 2000
python -m experiments.plan --machine rtx-4090-24gb --host-memory 64GiB --largest-model
python -m experiments.plan --model opt-13b --machine all
python -m experiments.plan --model opt-13b --compare
python -m experiments.plan --model opt-30b --cheapest prices.toml --tokens 1e9
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

from rich.console import Console

from experiments.answer.advice import advise
from experiments.answer.details import print_details
from experiments.answer.metrics import summary
from experiments.answer.ranking import EVERY, ranking
from experiments.answer.trust import Trust
from experiments.answer.verdict import Verdict
from experiments.case.target import SITE, Target, recipe_flags
from experiments.cli import Answer, finish, run, write_file
from experiments.entry.flags import explained, refuse
from zo2sim.machines.catalogue import names
from zo2sim.models import file
from zo2sim.plan.choices import Recipe
from zo2sim.plan.file import dump
from zo2sim.plan.workload import STEP, Workload
from zo2sim.predict.predict import Prediction, predict

_BACKWARDS = frozenset(("--target-tokens-per-s", "--largest-model", "--cheapest", "--tokens"))
_OF_ONE = ("--write-plan", "--write-model", "--details", "--compare")
"""What is said or kept of one predicted plan."""


@dataclass(frozen=True, kw_only=True)
class Config(Target):
    """Will it fit, how fast, what limits it, what to change first. Exit code 3: it does not."""

    workload: Annotated[Workload, explained(Workload)]
    write_plan: Path | None = None
    """Write plan and recipe to this TOML file, which --plan reads."""
    write_model: Path | None = None
    """Write the model's shapes to this JSON file, which --model reads, without PyTorch too."""
    target_tokens_per_s: float | None = None
    """Ask for the least device memory, host memory and link with which some plan is as fast."""
    largest_model: bool = False
    """Ask which presets fit the machine, in which format, and how deep --model may get; with
    --machine all, which is the largest on each."""
    cheapest: Path | None = None
    """Ask where a token is cheapest: a TOML table of machines with prices
    (experiments.answer.prices)."""
    tokens: float | None = None
    """Hours for so many tokens, and energy if the power is known."""
    watts: float | None = None
    """Power that the whole machine draws, for --tokens."""
    details: bool = False
    """Show the memory item by item, bands of the changes, and where the numbers come from."""
    compare: bool = False
    """Show the plan beside first-order training of the same model on the same machine: memory,
    time per token, and how many steps each takes."""
    json: str | None = None
    """Write the answer as JSON to this file, or to stdout with '-'."""

    def typed(self, flags: frozenset[str]) -> Self:
        """With the flags as ``given``; ``ValueError`` where one has no effect."""
        asked = flags & _BACKWARDS
        refuse(
            flags if asked else frozenset(),
            _OF_ONE,
            f"beside {', '.join(asked)}",
        )
        if self.workload.once:
            once = ("--no-overlap", "--no-deferred-update", "--samples")
            refuse(flags, once, "with --work forward, which is one pass and updates nothing")
            refuse(flags, ("--compare",), "with --work forward: what trains is compared")
        if self.compare:
            refuse(flags, ("--details",), "with --compare, which shows other things")
        if self.tokens is None:
            refuse(flags, ("--watts",), "without --tokens")
        if self.machine == EVERY:
            idle = (*_BACKWARDS - {"--largest-model"}, *_OF_ONE)
            refuse(flags, idle, f"with --machine {EVERY}, which compares machines")
        if self.cheapest is not None:
            refuse(flags, ("--watts",), "with --cheapest: its table has watts")
            site = () if self.largest_model else SITE[1:]
            refuse(flags, site, "with --cheapest: its table has the machines")
        return super().typed(flags)


def main(config: Config) -> int:
    if config.machine == EVERY:
        return finish(_of_every_machine(config), config.json)
    answers = _answers(config)
    return finish(_predicted(config) if answers is None else _together(answers), config.json)


def _of_every_machine(config: Config) -> Answer:
    if not config.largest_model:
        return ranking(config.spec, names(), config.workload)
    from experiments.answer.largest import on_every_machine

    return on_every_machine(config.spec, names(), config.fixed, config.given)


def _answers(config: Config) -> dict[str, Answer] | None:
    """What the inverse questions that were asked have for answers; None where none was.

    Only these need the search, which takes as long to load as a prediction takes.
    """
    if not config.given & _BACKWARDS:
        return None
    from experiments.answer.largest import largest
    from experiments.answer.prices import cheapest
    from experiments.answer.questions import run_length, target

    spec, fixed = config.spec, config.fixed
    asked: dict[str, Callable[[], Answer]] = {}
    if config.cheapest is not None:
        table, least, tokens = config.cheapest, config.target_tokens_per_s, config.tokens
        asked["cheapest"] = lambda: cheapest(spec, table, fixed, tokens_per_s=least, tokens=tokens)
    else:
        if config.target_tokens_per_s is not None:
            speed = config.target_tokens_per_s
            asked["target"] = lambda: target(spec.case(), speed, fixed)
        if config.tokens is not None:
            tokens = config.tokens
            asked["run"] = lambda: run_length(predict(spec.case()), tokens, config.watts)
    if config.largest_model:
        asked["largest_model"] = lambda: largest(spec, fixed, config.given)
    if asked and config.workload != STEP:
        raise ValueError(
            "--work, --logits and --attention must be left out where a question is asked "
            f"backwards ({', '.join(asked)}), which is about training steps"
        )
    return {name: ask() for name, ask in asked.items()} or None


def _together(answers: Mapping[str, Answer]) -> Answer:
    return Answer(
        {name: answer.content for name, answer in answers.items()},
        lambda: [answer.show() for answer in answers.values()],
        yes=all(answer.yes for answer in answers.values()),
    )


def _predicted(config: Config) -> Answer:
    prediction = predict(replace(config.spec.case(), workload=config.workload))
    trust = Trust.of(prediction)
    if config.write_plan is not None:
        write_file(config.write_plan, dump(*config.chosen).encode())
    if config.write_model is not None:
        write_file(config.write_model, file.dump(prediction.case.model).encode())
    if config.compare:
        from experiments.answer.compare import compare

        return compare(prediction, trust)
    return Answer(
        summary(prediction, trust),
        lambda: _print(config, prediction, trust, Console()),
        yes=prediction.fit,
    )


def _print(config: Config, prediction: Prediction, trust: Trust, console: Console) -> None:
    advice = None if config.workload.once else advise(prediction)
    verdict = Verdict(
        prediction=prediction,
        trust=trust,
        advice=advice,
        next_step=None if config.workload.once else _next(config, prediction),
        own_host=config.host_memory is not None,
    )
    verdict.show(console)
    if config.details:
        console.print()
        print_details(prediction, trust, advice or (), console)


def _next(config: Config, prediction: Prediction) -> tuple[Sequence[str], str]:
    """The command that goes on from here, and what it does."""
    _, recipe = config.chosen
    same = replace(recipe, microbatches=Recipe().microbatches)
    search = ("zo2sim tune", *config.site_flags, *recipe_flags(same, Recipe()))
    if not prediction.fit:
        return search, "looks for a plan that fits; --details says what takes the memory"
    count = f"{recipe.microbatches} microbatch{'' if recipe.microbatches == 1 else 'es'}"
    return (
        (*search, "--free microbatches"),
        f"searches all plans; this is one of many, with {count} per step",
    )


if __name__ == "__main__":
    sys.exit(run(main, Config))
