"""Predict configurations that calibration never saw, measure them, and print the errors.

python -m experiments.validate --machine machine.toml --quick --json -
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from analysis.replay import replayed_s
from analysis.validation import Comparison, Scores
from experiments.cli import DONE, run, write_json
from experiments.run_design import held_out_runs, reference_run
from zo2rt.measure.runs import Running, RunSpec, opened
from zo2sim.case import Case
from zo2sim.machine import Machine, cap_link
from zo2sim.machine_file import resolve
from zo2sim.predict import predict

_WARM_UP = 2
_QUICK = 8


@dataclass(frozen=True, kw_only=True)
class Config:
    """Predict held-out configurations, measure them in turns with a reference, print the errors."""

    machine: Path = Path("machine.toml")
    """The calibrated machine file of this machine."""
    quick: bool = False
    """A subset of the configurations."""
    turns: int = 7
    """Times that each configuration is measured, next to the reference."""
    steps: int = 4
    """Steps per turn, after warm-up."""
    json: str | None = None
    """Write the figures as JSON to this file, or to stdout with '-'."""


def main(config: Config) -> int:
    machine = resolve(config.machine)
    specs = [*held_out_runs()]
    specs = specs[:: max(1, len(specs) // _QUICK)] if config.quick else specs
    comparisons = _compared(specs, machine, config)
    scores = Scores(comparisons=tuple(comparisons))
    if config.json is not None:
        write_json(config.json, {**scores.as_dict(), "configurations": _rows(comparisons)})
    if config.json != "-":
        _print(scores, Console())
    return DONE


def case_of(spec: RunSpec, machine: Machine) -> Case:
    """What is predicted for a run on this machine, its link limited as the run's is."""
    rate = spec.link_bytes_per_s
    limited = machine if rate is None else cap_link(machine, rate)
    return Case(model=spec.model, machine=limited, plan=spec.plan, recipe=spec.recipe)


def _compared(specs: Sequence[RunSpec], machine: Machine, config: Config) -> list[Comparison]:
    predicted = [predict(case_of(spec, machine)).step_s for spec in specs]
    with ExitStack() as stack:
        reference = stack.enter_context(opened(reference_run()))
        running = [stack.enter_context(opened(spec)) for spec in specs]
        turns = _turns(running, reference, config)
        whole = median(r for pairs in turns for _, r in pairs)
        counted = _counted_steps(config)
        return [
            Comparison(
                name=spec.name,
                predicted_s=step_s,
                low_s=step_s,
                high_s=step_s,
                replayed_s=replayed_s(one.trace(), case_of(spec, machine), counted),
                measured_s=tuple(m for m, _ in pairs),
                reference_s=tuple(r for _, r in pairs),
                reference_median_s=whole,
            )
            for spec, step_s, one, pairs in zip(specs, predicted, running, turns, strict=True)
        ]


def _turns(
    running: Sequence[Running], reference: Running, config: Config
) -> list[list[tuple[float, float]]]:
    """Per configuration and turn: its step time, and the reference's right beside it."""
    found: list[list[tuple[float, float]]] = [[] for _ in running]
    with Progress(
        *Progress.get_default_columns(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        for _ in progress.track(range(config.turns), description="measuring"):
            for pairs, one in zip(found, running, strict=True):
                before = reference.steps_s(config.steps, warm_up=_WARM_UP)
                pairs.append((one.steps_s(config.steps, warm_up=_WARM_UP), before))
    return found


def _counted_steps(config: Config) -> set[int]:
    """Steps that were measured: all but the first ones of every turn."""
    length = config.steps + _WARM_UP
    return {s for s in range(config.turns * length) if s % length >= _WARM_UP}


def _rows(comparisons: Sequence[Comparison]) -> list[Mapping[str, float | str]]:
    return [
        {
            "name": c.name,
            "predicted_s": c.predicted_s,
            "measured_s": c.step_s,
            "error": c.error,
            "rules_error": c.rules_error,
            "standard_error": c.standard_error,
        }
        for c in comparisons
    ]


def _print(scores: Scores, console: Console) -> None:
    table = Table(box=None, padding=(0, 2))
    for heading in ("configuration", "predicted", "measured", "error", "rules", "repeat"):
        table.add_column(heading, justify="left" if heading == "configuration" else "right")
    for c in scores.comparisons:
        table.add_row(
            c.name,
            f"{c.predicted_s * 1e3:.1f} ms",
            f"{c.step_s * 1e3:.1f} ms",
            f"{c.error:+.1%}",
            f"{c.rules_error:+.1%}",
            f"{c.standard_error:.1%}",
        )
    console.print(table)
    for name, value in scores.as_dict().items():
        console.print(f"{name:14} {value if name == 'n' else f'{value:.2%}'}")


if __name__ == "__main__":
    sys.exit(run(main, Config))
