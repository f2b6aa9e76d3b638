"""What many workers make of a step: data along one direction, or a direction for every worker.

python -m experiments.scale --workers 1,8,64,1000
python -m experiments.scale opt-13b h100-sxm-80gb --policy resident --out runs/scale
"""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.plots.scale import Curve, scale_figure
from analysis.report.commands.scale import scale_document
from experiments.answer.trust import Trust
from experiments.case.sizes import show_seconds, show_times
from experiments.case.target import Target
from experiments.cli import Answer, finish, run
from experiments.folder.provenance import provenance
from experiments.folder.write import Number, Run, number_records, settings, write_run
from experiments.screen import headed, right, working
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict
from zo2sim.predict.ranks import (
    INTERNET,
    LAN,
    Directions,
    RankStep,
    message_bytes,
    rank_steps,
    wall,
)

_WIDTH = 80
_NETWORKS = (LAN, INTERNET)


@dataclass(frozen=True, kw_only=True)
class Config(Target):
    """A step of many workers that exchange losses alone, over a LAN and over the internet."""

    workers: str = "1,8,64,1000"
    """Numbers of workers, each with the whole model."""
    spread: float = 0.05
    """Standard deviation of a worker's step over its mean: the slowest one is waited for."""
    out: Path | None = None
    """Write a run's folder with records, figure and report, which experiments.report takes."""
    json: str | None = None
    """Write the answer as JSON to this file, or to stdout with '-'."""

    def typed(self, flags: frozenset[str]) -> Self:
        """With the flags as ``given``; ``ValueError`` where the numbers cannot be read."""
        counts(self.workers)
        return super().typed(flags)


def main(config: Config) -> int:
    case, asked = config.spec.case(), counts(config.workers)
    with working("predicting steps of many workers"):
        curves, walls = _curves(case, asked, config.spread), _walls(case)
    if config.out is not None:
        write_run(config.out, _folder(config, case, curves, walls))
    return finish(
        Answer(_content(case, curves, walls), lambda: _print(case, curves, walls)), config.json
    )


def counts(text: str) -> tuple[int, ...]:
    """Numbers of workers, in order. Raises ``ValueError`` where one is none."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ValueError(f"--workers must be whole numbers above 0, as 1,8,64; got {text!r}")
    return tuple(sorted({int(word) for word in words}))


def _curves(case: Case, asked: Sequence[int], spread: float) -> tuple[Curve, ...]:
    """One direction, then a direction for every worker with each kind of noise; by network."""
    return tuple(
        Curve(
            directions=directions,
            noise=one.recipe.noise,
            network=network.name,
            steps=rank_steps(one, asked, network=network, directions=directions, spread=spread),
        )
        for directions, one in _asked(case)
        for network in _NETWORKS
    )


def _asked(case: Case) -> Iterator[tuple[Directions, Case]]:
    yield "one", case
    for one in _by_noise(case):
        yield "own", one


def _by_noise(case: Case) -> Iterator[Case]:
    """The case, and the same with the noise that is fastest to draw."""
    yield case
    if case.recipe.noise == "gaussian":
        yield replace(case, recipe=replace(case.recipe, noise="rademacher"))


def _walls(case: Case) -> dict[str, float]:
    return {str(one.recipe.noise): wall(one) for one in _by_noise(case)}


def _content(case: Case, curves: Sequence[Curve], walls: dict[str, float]) -> dict[str, Any]:
    return {
        "model": case.model.name,
        "machine": case.machine.name,
        "policy": str(case.plan.policy),
        "tokens_per_worker": case.recipe.tokens_per_step,
        "message_bytes": message_bytes(2 * case.recipe.microbatches * case.recipe.samples),
        "steps": [row for curve in curves for row in curve.rows],
        "wall_workers": walls,
    }


def _folder(config: Config, case: Case, curves: Sequence[Curve], walls: dict[str, float]) -> Run:
    source, asked = provenance(seed=0, machines=[config.machine]), settings(config)
    return Run(
        verb="scale",
        config=asked,
        summary=_content(case, curves, walls),
        provenance=source,
        records=number_records(asked, _numbers(curves, walls), source="predicted"),
        figures={"scale": scale_figure(curves, walls)},
        document=scale_document(
            case, curves, walls, grounds=Trust.of(predict(case)).grounds, provenance=source
        ),
    )


def _numbers(curves: Sequence[Curve], walls: dict[str, float]) -> Iterator[Number]:
    for row in (row for curve in curves for row in curve.rows):
        of = {key: row[key] for key in ("directions", "noise", "network", "workers")}
        for name in ("step_s", "replay_s", "straggle_s", "exchange_s"):
            yield of, name, float(row[name]), "s"
    for noise, workers in walls.items():
        yield {"noise": noise}, "wall_workers", workers, "1"


def _print(case: Case, curves: Sequence[Curve], walls: dict[str, float]) -> None:
    console, recipe = Console(), case.recipe
    alone = curves[0].steps[0].alone_s
    console.print(
        f"{escape(case.model.name)} on {escape(case.machine.name)}, {case.plan.policy}: "
        f"{show_seconds(alone)} a step alone, {recipe.tokens_per_step:,} tokens a worker",
        soft_wrap=True,
    )
    console.print(_one_table(case, [c for c in curves if c.directions == "one"]))
    console.print(_own_table([c for c in curves if c.directions == "own"]))
    for line in textwrap.wrap(_verdict(case, walls), _WIDTH):
        console.print(line, highlight=False)


def _one_table(case: Case, curves: Sequence[Curve]) -> Table:
    headings = [f"step, {curve.network}" for curve in curves]
    table = headed(
        *right("workers", *headings, "tokens/s", "of N times one", whole=True),
        title="one direction, each worker with its own data",
        gap=1,
    )
    for steps, times in zip(_by_workers(curves), _times(curves), strict=True):
        last = steps[-1]
        table.add_row(
            f"{last.workers:,}",
            *times,
            f"{last.workers * case.recipe.tokens_per_step / last.step_s:,.0f}",
            f"{last.efficiency:.0%}",
        )
    return table


def _own_table(curves: Sequence[Curve]) -> Table:
    """Over the slowest network alone, which hardly matters here."""
    shown = [curve for curve in curves if curve.network == _NETWORKS[-1].name]
    headings = [f"step, {curve.noise}" for curve in shown]
    table = headed(
        *right("workers", *headings, "updates take", whole=True),
        title=f"a direction for each worker, {_NETWORKS[-1].name}",
        gap=1,
    )
    for steps, times in zip(_by_workers(shown), _times(shown), strict=True):
        share = " / ".join(f"{step.replay_s / step.step_s:.0%}" for step in steps)
        table.add_row(f"{steps[0].workers:,}", *times, share)
    return table


def _by_workers(curves: Sequence[Curve]) -> Iterator[tuple[RankStep, ...]]:
    """Of every number of workers the steps of all curves."""
    return zip(*(curve.steps for curve in curves), strict=True)


def _times(curves: Sequence[Curve]) -> Iterator[tuple[str, ...]]:
    """The same as text, every curve in one unit."""
    columns = (show_times([step.step_s for step in curve.steps]) for curve in curves)
    return zip(*columns, strict=True)


def _verdict(case: Case, walls: dict[str, float]) -> str:
    """Where each way ends."""
    lanes = 2 * case.recipe.microbatches * case.recipe.samples
    said = " or ".join(f"{workers:.0f} workers ({noise})" for noise, workers in walls.items())
    return (
        f"The wall: from {said} on, the updates along everybody's directions take "
        "longer than a worker's own forwards. One direction with more data has no wall: what is "
        f"lost is the wait for the slowest worker, and {message_bytes(lanes)} bytes a worker and "
        "step go up. Networks and spread are assumed."
    )


if __name__ == "__main__":
    sys.exit(run(main, Config))
