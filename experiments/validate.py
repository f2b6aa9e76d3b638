"""Predict configurations that calibration never saw, measure them, and print the errors.

python -m experiments.validate --machine machine.toml --out runs/validate
python -m experiments.validate --machine machine.toml --record
python -m experiments.validate --machine machine.toml --quick --json -
python -m experiments.validate --machine other.toml --measured runs/validate
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.validation.peak_memory import MemoryCheck, MemoryScores
from experiments.campaign.designs import held_out_runs, reference_runs
from experiments.campaign.recorded_run import case_of
from experiments.campaign.references import References
from experiments.campaign.samples import sample_frame
from experiments.cli import DONE, NO, run, write_json
from experiments.comparison.compared import Validated, compared, complaints, scores_of
from experiments.comparison.earlier import MeasuredRun, Measurements, read_measurements
from experiments.comparison.memory import arena_checks, process_checks
from experiments.comparison.output import record_validation, summary, write_validation
from experiments.comparison.screen import show
from experiments.folder.write import write_samples
from experiments.screen import progress_bar
from zo2rt.measure.calm import Turn
from zo2rt.measure.runs import Running, RunSpec, opened
from zo2rt.measure.turns import TURNS, Rounds, in_turns
from zo2rt.sampling.host import HostProbe
from zo2rt.sampling.sampler import Sampler
from zo2sim.machines.file import resolve
from zo2sim.machines.machine import Machine
from zo2sim.predict.predict import predict

_QUICK = 8
_SAMPLED_EVERY_S = 1.0  # seldom: what is measured shares the cores


@dataclass(frozen=True, kw_only=True)
class Config:
    """Predict held-out configurations, measure them in turns with references, print the errors."""

    machine: str = "machine.toml"
    """The calibrated machine file of this machine."""
    quick: bool = False
    """A subset of the configurations."""
    turns: int = TURNS
    """Times that each configuration is measured, next to the references."""
    steps: int = 3
    """Steps per turn, after warm-up."""
    measured: Path | None = None
    """Folder of an earlier validation: score the machine file on what it measured."""
    check: bool = False
    """Exit with 3 where the errors exceed what is promised, or a constant is suspect."""
    record: bool = False
    """Write the errors into the machine file: every prediction with it then prints them."""
    out: Path | None = None
    """Write the run's folder: report, figures, records, and every configuration's run."""
    no_report: bool = False
    """Do not typeset the report."""
    seed: int = 0
    """Of the draws behind the bands."""
    json: str | None = None
    """Write the figures as JSON to this file, or to stdout with '-'."""

    def __post_init__(self) -> None:
        if self.record and not Path(self.machine).is_file():
            raise ValueError(f"--record needs a machine file to write to; got {self.machine}")
        if self.turns < 1 or self.steps < 1:
            raise ValueError(f"--turns and --steps must be >= 1; got {self.turns} and {self.steps}")


def main(config: Config) -> int:
    machine = resolve(config.machine)
    sampler = Sampler([HostProbe()], interval_s=_SAMPLED_EVERY_S)
    if config.measured is None:
        specs = [*held_out_runs()]
        specs = specs[:: len(specs) // _QUICK] if config.quick else specs
        processes = tuple(process_checks(quick=config.quick))
        found, arenas = _validated(specs, machine, config, sampler)
        memory = MemoryScores(checks=(*arenas, *processes))
    else:
        before = read_measurements(config.measured)
        config = replace(config, turns=before.turns, steps=before.steps)
        found, memory = _measured_before(before, machine, config), MemoryScores()
    if config.record:
        record_validation(Path(config.machine), machine, scores_of(found))
    if config.out is not None:
        settings, typeset = _settings(config), not config.no_report
        write_validation(config.out, found, memory, settings, typeset=typeset)
        if sampler.samples:
            write_samples(config.out, sample_frame(sampler.samples))
    if config.json is not None:
        write_json(config.json, summary(found, memory))
    if config.json != "-":
        show(found, memory, Console())
    return NO if config.check and complaints(found, memory) else DONE


def _settings(config: Config) -> dict[str, Any]:
    """What the figures depend on."""
    kept = ("machine", "quick", "turns", "steps", "seed")
    return {name: getattr(config, name) for name in kept}


def _validated(
    specs: Sequence[RunSpec], machine: Machine, config: Config, sampler: Sampler
) -> tuple[list[Validated], tuple[MemoryCheck, ...]]:
    """Predictions first; then every configuration in turn, in every round. And their arenas."""
    predictions = [predict(case_of(spec, machine)) for spec in specs]
    with ExitStack() as stack:
        beside = [stack.enter_context(opened(spec)) for spec in reference_runs()]
        running = [stack.enter_context(opened(spec)) for spec in specs]
        with sampler:
            turns = _turns(running, beside, config)
        runs = [
            MeasuredRun(
                spec=spec,
                trace=one.trace(),
                turns=tuple(own),
                divergence=one.divergence(prediction.case.program),
            )
            for spec, one, own, prediction in zip(specs, running, turns, predictions, strict=True)
        ]
        arenas = tuple(arena_checks(specs, running))
    references = References.of(machine, turns)
    found = [
        compared(run, prediction, references, seed=config.seed)
        for run, prediction in zip(runs, predictions, strict=True)
    ]
    return found, arenas


def _measured_before(before: Measurements, machine: Machine, config: Config) -> list[Validated]:
    """This machine's predictions beside what an earlier validation measured."""
    references = References.of(machine, [run.turns for run in before.runs])
    return [
        compared(run, predict(case_of(run.spec, machine)), references, seed=config.seed)
        for run in before.runs
    ]


def _turns(
    running: Sequence[Running], beside: Sequence[Running], config: Config
) -> list[list[Turn]]:
    rounds = Rounds(turns=config.turns, steps=config.steps)
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=config.turns * len(running))
        return in_turns(running, beside, rounds, lambda: bar.advance(task))


if __name__ == "__main__":
    sys.exit(run(main, Config))
