"""Will it fit, how fast, what limits it, what to change first; and the same backwards.

python -m experiments.plan --model opt-175b --machine rtx-4090-24gb --device-memory 18GB
python -m experiments.plan --model opt-13b --target-tokens-per-s 2000
python -m experiments.plan --machine rtx-4090-24gb --host-memory 64GiB --largest-model
python -m experiments.plan --model opt-30b --cheapest prices.toml --tokens 1e9
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.report.wording import listed
from experiments.answer.advice import advise
from experiments.answer.metrics import summary
from experiments.answer.prices import cheapest
from experiments.answer.questions import largest, run_length, target
from experiments.answer.trust import Trust, band_cell
from experiments.case.sizes import show_bytes, show_number, show_seconds
from experiments.case.target import SITE, Target
from experiments.cli import Answer, finish, run, write_file
from experiments.flags import refuse
from experiments.screen import headed, left, pairs, right
from zo2sim.memory.account import MemoryPlace
from zo2sim.memory.runtime import streamed_bytes
from zo2sim.models import file
from zo2sim.plan.file import dump
from zo2sim.plan.workload import STEP, Workload
from zo2sim.predict.predict import Prediction, predict

_LISTS = ("assumed", "extrapolated")
_BACKWARDS = frozenset(("--target-tokens-per-s", "--largest-model", "--cheapest", "--tokens"))
_NAMED = 3  # sources named per topic on the screen
_SHOWN_BYTES = 1 << 20  # smaller items are summed up


@dataclass(frozen=True, kw_only=True)
class Config(Target):
    """Will it fit, how fast, what limits it, what to change first. Exit code 3: it does not fit."""

    workload: Workload
    write_plan: Path | None = None
    """Write plan and recipe to this TOML file, which --plan reads."""
    write_model: Path | None = None
    """Write the model's shapes to this JSON file, which --model reads, without PyTorch too."""
    target_tokens_per_s: float | None = None
    """Ask for the least device memory, host memory and link with which some plan is as fast."""
    largest_model: bool = False
    """Ask which presets fit the machine, and how deep --model may get."""
    cheapest: Path | None = None
    """Ask where a token is cheapest: a TOML table of machines with prices
    (experiments.answer.prices)."""
    tokens: float | None = None
    """Hours for so many tokens, and energy if the power is known."""
    watts: float | None = None
    """Power that the whole machine draws, for --tokens."""
    json: str | None = None
    """Write the answer as JSON to this file, or to stdout with '-'."""

    def typed(self, flags: frozenset[str]) -> Self:
        """With the flags as ``given``; ``ValueError`` where one has no effect."""
        asked = flags & _BACKWARDS
        refuse(
            flags if asked else frozenset(),
            ("--write-plan", "--write-model"),
            f"beside {', '.join(asked)}",
        )
        if self.workload.once:
            once = ("--no-overlap", "--no-deferred-update", "--samples")
            refuse(flags, once, "with --work forward, which is one pass and updates nothing")
        if self.tokens is None:
            refuse(flags, ("--watts",), "without --tokens")
        if self.cheapest is not None:
            refuse(flags, ("--watts",), "with --cheapest: its table has watts")
            site = () if self.largest_model else SITE[1:]
            refuse(flags, site, "with --cheapest: its table has the machines")
        return super().typed(flags)


def main(config: Config) -> int:
    answers = _answers(config)
    return finish(_predicted(config) if answers is None else _together(answers), config.json)


def _answers(config: Config) -> dict[str, Answer] | None:
    """What the inverse questions that were asked have for answers; None where none was."""
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
        asked["largest_model"] = lambda: largest(spec, fixed)
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
        write_file(config.write_model, file.dump(config.spec.case().model).encode())
    return Answer(
        summary(prediction, trust),
        lambda: _print(prediction, trust, Console()),
        yes=prediction.fit,
    )


def _print(prediction: Prediction, trust: Trust, console: Console) -> None:
    case = prediction.case
    verdict = "[bold green]fits[/]" if prediction.fit else "[bold red]does not fit[/]"
    if 0.0 < trust.band.fits_share < 1.0:
        verdict += f", in {trust.band.fits_share:.0%} of what the machine's sizes may be"
    name = escape(f"{case.model.name} on {case.machine.name}, {case.plan.policy}")
    console.print(f"{name}: {verdict}")
    console.print(_room(prediction))
    console.print(_speed(prediction, trust))
    for place in (MemoryPlace.DEVICE, MemoryPlace.HOST):
        console.print(_memory(prediction, place))
    _print_advice(prediction, console)
    _print_sources(prediction, trust, console)


def _room(prediction: Prediction) -> Table:
    shown = [place for place in prediction.fits if place.needed_bytes]
    return pairs(("[green]  ok[/]" if p.fits else "[red]  NO[/]", p.sentence) for p in shown)


def _speed(prediction: Prediction, trust: Trust) -> Table:
    bound, work = prediction.bound, prediction.case.workload.work
    gap = round(prediction.gap, 4) + 0.0  # never "-0.0%"
    rows = (
        *trust.speed(prediction.step_s, prediction.tokens_per_s, work=work),
        ("lower bound", f"{show_seconds(bound.step_s)}; the {work} is {gap:.1%} above it"),
        ("binds", listed(bound.binds)),
        ("exposed copies", f"{_share(prediction, prediction.steady.exposed_s)} of the {work}"),
    )
    first = ("first step", show_seconds(prediction.trace.first_step_s))
    return pairs((*rows, *(() if work == "forward" else (first,))))


def _share(prediction: Prediction, seconds: float) -> str:
    return f"{seconds / prediction.steady.length_s:.1%}"


def _memory(prediction: Prediction, place: MemoryPlace) -> Table:
    table = headed("item", *right("size"), title=f"{place} memory")
    items = prediction.memory.itemised(place)
    for name, nbytes in items.items():
        if nbytes >= _SHOWN_BYTES:
            table.add_row(name, show_bytes(nbytes))
    if place is MemoryPlace.HOST and prediction.case.plan.tier == "ram":
        case = prediction.case
        rounded = streamed_bytes(case.model, case.plan, case.recipe, "rounded")
        table.add_row("pinned by PyTorch, they take", show_bytes(rounded), style="dim")
    small = sum(nbytes for nbytes in items.values() if nbytes < _SHOWN_BYTES)
    if small:
        table.add_row("smaller items", show_bytes(small))
    return table


def _print_advice(prediction: Prediction, console: Console) -> None:
    advice = advise(prediction)
    if not advice:
        console.print("No single change of the plan that was tried helps.")
        return
    columns = left("tokens/s", "90 % band", "gain", "device", "then binds", whole=True)
    table = headed("change", *columns, title="what to change first", gap=1)
    for item in advice:
        after = item.prediction
        ends = Trust.of(after).tokens_per_s_band
        table.add_row(
            item.change,
            show_number(after.tokens_per_s),
            band_cell(after.tokens_per_s, *ends, show_number) or "none",
            f"{after.tokens_per_s / prediction.tokens_per_s:.2f}x",
            show_bytes(after.memory.device_bytes),
            listed(after.bound.binds),
        )
    console.print(table)


def _print_sources(prediction: Prediction, trust: Trust, console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    for topic, text in trust.rows():
        table.add_row(topic, escape(text))
    for topic, text in prediction.provenance.items():
        names = text.split(", ") if topic in _LISTS else [text]
        more = f", and {len(names) - _NAMED} more (--json has all)" if len(names) > _NAMED else ""
        table.add_row(topic, escape(", ".join(names[:_NAMED]) + more), style="dim")
    console.print(table)


if __name__ == "__main__":
    sys.exit(run(main, Config))
