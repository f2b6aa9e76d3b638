"""Predict configurations that calibration never saw, measure them, and print the errors.

python -m experiments.validate --machine machine.toml --out runs/validate
python -m experiments.validate --machine machine.toml --quick --json -
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from analysis.compare import first_divergence
from analysis.op_errors import OpError, op_errors, suspects
from analysis.plots.paired_timelines import paired_timelines
from analysis.plots.validation import validation
from analysis.replay import mean_durations_s, replayed_s
from analysis.style import svg_text
from analysis.validation import Comparison, Scores, coverage_interval
from experiments.cli import DONE, NO, run, write_file, write_json
from experiments.identity import provenance
from experiments.progress import progress_bar
from experiments.recorded_run import RecordedRun, write_recorded
from experiments.run_design import held_out_runs, reference_run
from zo2rt.measure.runs import Running, RunSpec, opened
from zo2sim.bands import band
from zo2sim.case import Case
from zo2sim.machine import Machine, cap_link
from zo2sim.machine_file import resolve
from zo2sim.predict import Prediction, predict
from zo2sim.trace import Trace

_WARM_UP = 2
_QUICK = 8
_WORST = 6  # operations that the screen names
_ALLOWED = {"mape": 0.03, "max_ape": 0.08, "mpe": 0.015, "rules_mape": 0.01}
"""What a validation promises; `_complaints` adds what the measurement itself scatters by."""
_WIDEST = 0.15

Turn = tuple[float, float]
"""Step time of the configuration, and of the reference right before it."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Predict held-out configurations, measure them in turns with a reference, print the errors."""

    machine: str = "machine.toml"
    """The calibrated machine file of this machine."""
    quick: bool = False
    """A subset of the configurations."""
    turns: int = 7
    """Times that each configuration is measured, next to the reference."""
    steps: int = 4
    """Steps per turn, after warm-up."""
    check: bool = False
    """Exit with 3 where the errors exceed what is promised, or a constant is suspect."""
    out: Path | None = None
    """Write every run (plan, model, trace), its timelines and the table to this folder."""
    seed: int = 0
    """Of the draws behind the bands."""
    json: str | None = None
    """Write the figures as JSON to this file, or to stdout with '-'."""

    def __post_init__(self) -> None:
        if self.turns < 1 or self.steps < 1:
            raise ValueError(f"--turns and --steps must be >= 1; got {self.turns} and {self.steps}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Validated:
    """One configuration: predicted, measured, compared."""

    spec: RunSpec
    prediction: Prediction
    trace: Trace
    comparison: Comparison
    errors: tuple[OpError, ...]
    divergence: str | None


def main(config: Config) -> int:
    machine = resolve(config.machine)
    specs = [*held_out_runs()]
    specs = specs[:: len(specs) // _QUICK] if config.quick else specs
    found = _validated(specs, machine, config)
    scores = Scores(comparisons=tuple(one.comparison for one in found))
    if config.out is not None:
        _write(config.out, found, scores, config)
    if config.json is not None:
        write_json(config.json, _summary(found, scores))
    if config.json != "-":
        _print(found, scores, Console())
    return NO if config.check and _complaints(found, scores) else DONE


def case_of(spec: RunSpec, machine: Machine) -> Case:
    """What is predicted for a run on this machine, its link limited as the run's is."""
    rate = spec.link_bytes_per_s
    limited = machine if rate is None else cap_link(machine, rate)
    return Case(model=spec.model, machine=limited, plan=spec.plan, recipe=spec.recipe)


def _validated(specs: Sequence[RunSpec], machine: Machine, config: Config) -> list[Validated]:
    """Predictions first; then every configuration in turn, in every round."""
    predictions = [predict(case_of(spec, machine)) for spec in specs]
    with ExitStack() as stack:
        reference = stack.enter_context(opened(reference_run()))
        running = [stack.enter_context(opened(spec)) for spec in specs]
        turns = _turns(running, reference, config)
        whole = median(r for pairs in turns for _, r in pairs)
        traces = [one.trace() for one in running]
    return [
        _one(spec, prediction, trace, pairs, whole, config)
        for spec, prediction, trace, pairs in zip(specs, predictions, traces, turns, strict=True)
    ]


def _one(
    spec: RunSpec,
    prediction: Prediction,
    trace: Trace,
    pairs: Sequence[Turn],
    whole_s: float,
    config: Config,
) -> Validated:
    case, counted = prediction.case, _counted_steps(config)
    spread = band(case, seed=config.seed)
    comparison = Comparison(
        name=spec.name,
        predicted_s=prediction.step_s,
        low_s=spread.low_step_s,
        high_s=spread.high_step_s,
        replayed_s=replayed_s(trace, case, counted),
        measured_s=tuple(m for m, _ in pairs),
        reference_s=tuple(r for _, r in pairs),
        reference_median_s=whole_s,
    )
    measured_s = mean_durations_s(trace, counted)
    return Validated(
        spec=spec,
        prediction=prediction,
        trace=trace,
        comparison=comparison,
        errors=tuple(op_errors(trace, case, measured_s, spec.name)),
        divergence=first_divergence(prediction.trace, trace),
    )


def _turns(running: Sequence[Running], reference: Running, config: Config) -> list[list[Turn]]:
    found: list[list[Turn]] = [[] for _ in running]
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=config.turns * len(running))
        for _ in range(config.turns):
            for pairs, one in zip(found, running, strict=True):
                beside_s = reference.steps_s(config.steps, warm_up=_WARM_UP)
                pairs.append((one.steps_s(config.steps, warm_up=_WARM_UP), beside_s))
                bar.advance(task)
    return found


def _counted_steps(config: Config) -> set[int]:
    """Steps that were measured: all but the first ones of every turn."""
    length = config.steps + _WARM_UP
    return {s for s in range(config.turns * length) if s % length >= _WARM_UP}


def _complaints(found: Sequence[Validated], scores: Scores) -> list[str]:
    """What exceeds the promise, and the constants that are suspect."""
    slack = {"mape": 0.0, "max_ape": scores.repeatability, "mpe": scores.repeatability}
    wrong: list[str] = []
    for name, most in _ALLOWED.items():
        limit = most + slack.get(name, 0.0)
        if name == "mape":
            limit = max(limit, 1.5 * scores.repeatability)
        value = abs(getattr(scores, name))
        if value > limit:
            wrong.append(f"{name} must be at most {limit:.2%}; it is {value:.2%}")
    low, high = coverage_interval(scores.n)
    if not low <= scores.coverage_90 <= high:
        wrong.append(
            f"coverage_90 must lie in {low:.0%} to {high:.0%}; it is {scores.coverage_90:.0%}"
        )
    if scores.band_width > _WIDEST:
        wrong.append(f"bands must be at most {_WIDEST:.0%} wide; they are {scores.band_width:.0%}")
    wrong += [f"suspect: {suspect.sentence}" for suspect in suspects(_errors(found))]
    return wrong + [f"{one.spec.name}: {one.divergence}" for one in found if one.divergence]


def _errors(found: Sequence[Validated]) -> list[OpError]:
    return [error for one in found for error in one.errors]


def _summary(found: Sequence[Validated], scores: Scores) -> dict[str, Any]:
    return {
        **scores.as_dict(),
        "coverage_interval": coverage_interval(scores.n),
        "complaints": _complaints(found, scores),
        "suspects": [asdict(suspect) for suspect in suspects(_errors(found))],
        "configurations": [_row(one) for one in found],
    }


def _row(one: Validated) -> Mapping[str, Any]:
    c = one.comparison
    return {
        "name": c.name,
        "predicted_s": c.predicted_s,
        "low_s": c.low_s,
        "high_s": c.high_s,
        "measured_s": c.step_s,
        "turns_s": [float(t) for t in c.turns_s],
        "error": c.error,
        "rules_error": c.rules_error,
        "divergence": one.divergence,
        "standard_error": c.standard_error if len(c.measured_s) > 1 else None,
        "operations": [
            {**asdict(error), "ratio": error.ratio, "effect_s": error.effect_s}
            for error in one.errors
        ],
    }


def _write(out: Path, found: Sequence[Validated], scores: Scores, config: Config) -> None:
    metadata = provenance(seed=config.seed, machines=[config.machine])
    for number, one in enumerate(found):
        folder = out / f"{number:02d}"
        recorded = RecordedRun(spec=one.spec, trace=one.trace)
        write_recorded(folder, recorded, metadata=metadata)
        write_file(folder / "timelines.svg", svg_text(_timelines(one, config)).encode())
    write_file(out / "validation.svg", svg_text(validation(scores)).encode())
    write_json(str(out / "summary.json"), _summary(found, scores))


def _timelines(one: Validated, config: Config) -> Figure:
    last = max(_counted_steps(config))
    return paired_timelines(one.prediction.trace, one.trace, step=last, title=one.comparison.name)


def _print(found: Sequence[Validated], scores: Scores, console: Console) -> None:
    console.print(_errors_table(scores))
    console.print(_operations_table(_errors(found)))
    for name, value in scores.as_dict().items():
        console.print(f"{name:14} {value if name == 'n' else f'{value:.2%}'}")
    for complaint in _complaints(found, scores):
        console.print(f"[yellow]{complaint}[/]", soft_wrap=True)


def _errors_table(scores: Scores) -> Table:
    table = Table(box=None, padding=(0, 1))
    for heading in ("configuration", "predicted", "measured", "error", "band", "rules", "repeat"):
        side = "left" if heading == "configuration" else "right"
        table.add_column(heading, justify=side, overflow="fold")
    for c in scores.comparisons:
        table.add_row(
            c.name,
            f"{c.predicted_s * 1e3:.1f} ms",
            f"{c.step_s * 1e3:.1f} ms",
            f"{c.error:+.1%}",
            "in" if c.covered else "[red]out[/]",
            f"{c.rules_error:+.1%}",
            f"{c.standard_error:.1%}",
        )
    return table


def _operations_table(errors: Sequence[OpError]) -> Table:
    """Which operations the worst errors come from."""
    title = "operations that add most error"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
    for heading in ("operation", "predicted", "measured", "per step", "mostly"):
        table.add_column(heading, justify="left" if heading == "operation" else "right")
    for error in sorted(errors, key=lambda e: -abs(e.effect_s))[:_WORST]:
        table.add_row(
            f"{error.op}, {error.configuration}",
            f"{error.predicted_s * 1e3:.2f} ms",
            f"{error.measured_s * 1e3:.2f} ms",
            f"{error.effect_s * 1e3:+.1f} ms",
            error.constant.partition(".")[2],
        )
    return table


if __name__ == "__main__":
    sys.exit(run(main, Config))
