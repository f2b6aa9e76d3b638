"""Predict configurations that calibration never saw, measure them, and print the errors.

python -m experiments.validate --machine machine.toml --out runs/validate
python -m experiments.validate --machine machine.toml --record
python -m experiments.validate --machine machine.toml --quick --json -
python -m experiments.validate --machine machine.toml --integers --out runs/integers
python -m experiments.validate --machine machine.toml --devices --out runs/devices
python -m experiments.validate --machine other.toml --measured runs/validate
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from rich.console import Console

from analysis.validation.peak_memory import MemoryScores
from experiments.campaign.designs import (
    held_out_runs,
    integer_runs,
    reference_runs,
    several_runs,
)
from experiments.campaign.recorded_run import case_of
from experiments.campaign.references import References
from experiments.campaign.samples import sample_frame
from experiments.cli import Answer, finish, run
from experiments.comparison.compared import compared, complaints, scores_of
from experiments.comparison.earlier import read_measured
from experiments.comparison.memory import arena_checks, process_checks
from experiments.comparison.output import record_validation, summary, write_validation
from experiments.comparison.screen import show
from experiments.entry.flags import refuse
from experiments.folder.write import typesetters, write_samples
from experiments.screen import progress_bar
from zo2rt.measure.runs import MeasuredRun, RunSpec, measured, opened
from zo2rt.measure.turns import TURNS, Rounds
from zo2rt.sampling.host import HostProbe
from zo2rt.sampling.sampler import Sampler
from zo2sim.machines.file import resolve
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
    integers: bool = False
    """Others: blocks in eight and four bits, behind limited links."""
    devices: bool = False
    """Others: rings of two devices, and lanes or slices dealt to two, behind limited links."""
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
        if self.integers and self.devices:
            raise ValueError("--integers and --devices are configurations each; give one of them")

    def typed(self, flags: frozenset[str]) -> Self:
        """Refuse the flags of what is not measured, or not written."""
        if self.measured is not None:
            given = ("--quick", "--integers", "--devices", "--turns", "--steps")
            refuse(flags, given, "with --measured, which has runs")
        if self.out is None:
            refuse(flags, ("--no-report",), "without --out")
        return self


def _check_file(machine: str) -> None:
    """Raise ``ValueError`` where a file is meant that is not there."""
    if machine.endswith(".toml") and not Path(machine).is_file():
        raise ValueError(
            f"there is no machine file {machine}; zo2sim calibrate measures this machine and "
            "writes one, or name another with --machine"
        )


def main(config: Config) -> int:
    if config.out is not None and not config.no_report:
        typesetters()
    _check_file(config.machine)
    machine = resolve(config.machine)
    sampler = Sampler([HostProbe()], interval_s=_SAMPLED_EVERY_S)
    before = None if config.measured is None else read_measured(config.measured)
    specs = _specs(config) if before is None else [run.spec for run in before]
    predictions = [predict(case_of(spec, machine)) for spec in specs]
    if before is None:
        runs, memory = _measured(specs, config, sampler)
    else:
        runs, memory = before, MemoryScores()
        config = replace(config, turns=len(runs[0].turns), steps=len(runs[0].turns[0].steps_s))
    references = References.of(machine, [run.turns for run in runs])
    pairs = zip(runs, predictions, strict=True)
    found = [compared(*pair, references, seed=config.seed) for pair in pairs]
    if config.record:
        record_validation(Path(config.machine), machine, scores_of(found))
    if config.out is not None:
        settings, typeset = _settings(config), not config.no_report
        write_validation(config.out, found, memory, settings, typeset=typeset)
        if sampler.samples:
            write_samples(config.out, sample_frame(sampler.samples))
    answer = Answer(
        summary(found, memory),
        lambda: show(found, memory, Console()),
        yes=not (config.check and complaints(found, memory)),
    )
    return finish(answer, config.json)


def _settings(config: Config) -> dict[str, Any]:
    """What the figures depend on."""
    kept = ("machine", "quick", "integers", "devices", "turns", "steps", "seed")
    return {name: getattr(config, name) for name in kept}


def _specs(config: Config) -> list[RunSpec]:
    runs = several_runs if config.devices else integer_runs if config.integers else held_out_runs
    specs = [*runs()]
    return specs[:: max(1, len(specs) // _QUICK)] if config.quick else specs


def _measured(
    specs: Sequence[RunSpec], config: Config, sampler: Sampler
) -> tuple[list[MeasuredRun], MemoryScores]:
    """Processes for their memory; then every configuration in turn, in every round."""
    others = config.integers or config.devices
    processes = [] if others else [*process_checks(quick=config.quick)]
    rounds = Rounds(turns=config.turns, steps=config.steps)
    with ExitStack() as stack:
        beside = [stack.enter_context(opened(spec)) for spec in reference_runs()]
        running = [stack.enter_context(opened(spec)) for spec in specs]
        with sampler, progress_bar() as bar:
            task = bar.add_task("measuring", total=config.turns * len(running))
            runs = measured(running, beside, rounds, lambda: bar.advance(task))
        return runs, MemoryScores(checks=(*arena_checks(running), *processes))


if __name__ == "__main__":
    sys.exit(run(main, Config))
