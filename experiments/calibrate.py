"""Measure this machine and write its machine file, in a few minutes.

python -m experiments.calibrate --backend host --out machine.toml
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import psutil
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from analysis.calibration import Fit, fit
from analysis.machine_fit import START_S, Room, calibrated
from analysis.trace_rows import gap_rows, op_rows
from experiments.cli import DONE, run, write_file, write_json
from experiments.identity import commit
from experiments.run_design import calibration_runs
from zo2rt.backends import HostBackend
from zo2rt.measure import disk, kernels, links, noise
from zo2rt.measure.runs import RunSpec, opened, single_threaded
from zo2rt.measure.timing import Effort, measure
from zo2sim.case import Case
from zo2sim.machine_file import dump, named
from zo2sim.measured import Measured
from zo2sim.trace import Trace

_STEPS = 10
_LIMIT_BYTES_PER_S = 1e9


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure this machine and write its machine file."""

    backend: Literal["host", "cuda"] = "host"
    """What computes: this machine's CPU, or its GPU."""
    out: Path = Path("machine.toml")
    """The machine file to write; the residuals are drawn beside it."""
    effort: float = 1.0
    """How much to measure: 0.1 for a quick look, 1 for a calibration."""
    seed: int = 0
    """Of the shapes that are drawn."""
    json: str | None = None
    """Write the constants as JSON to this file, or to stdout with '-'."""


def main(config: Config) -> int:
    rows = tuple(_measured(config))
    fitted = fit(rows, START_S)
    source = f"python -m experiments.calibrate, {date.today()}, commit {commit()}"
    machine = calibrated(
        named("this-host"),
        fitted,
        _room(config.out.parent),
        source=source,
    )
    write_file(config.out, dump(machine).encode())
    if config.json is not None:
        write_json(config.json, _summary(fitted, source))
    if config.json != "-":
        _print(fitted, config.out, Console())
    return DONE


def _room(folder: Path) -> Room:
    return Room(
        num_cores=psutil.cpu_count(logical=False) or 1,
        memory_bytes=psutil.virtual_memory().total,
        disk_bytes=psutil.disk_usage(str(folder)).total,
    )


def _measured(config: Config) -> Iterator[Measured]:
    scale = config.effort
    with Progress(
        *Progress.get_default_columns(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        specs = [*calibration_runs(max(3, round(30 * scale)), seed=config.seed)]
        task = progress.add_task("measuring", total=4 + len(specs))
        for part in _parts(config):
            yield from part
            progress.advance(task)
        for spec in specs:
            yield from run_rows(spec, traced(spec))
            progress.advance(task)


def _parts(config: Config) -> Iterator[Sequence[Measured]]:
    effort, seed = Effort(rounds=3 if config.effort >= 0.5 else 1), config.seed
    count = max(8, round(80 * config.effort))
    with single_threaded():
        benches = [*kernels.gemms(count, seed=seed), *kernels.attentions(count // 3, seed=seed)]
        yield [*measure(benches, effort, seed=seed)]
        yield [*measure([*noise.passes()], effort, seed=seed)]
    with HostBackend() as backend:
        yield [
            *links.one_way(backend),
            *links.both_ways(backend),
            *links.limited(_LIMIT_BYTES_PER_S),
        ]
    with TemporaryDirectory(dir=config.out.parent) as folder:
        yield [*disk.fsyncs(Path(folder)), *disk.pieces(Path(folder))]


def traced(spec: RunSpec) -> Trace:
    """A short run's trace."""
    with opened(spec) as running:
        running.steps_s(_STEPS, warm_up=0)
        return running.trace()


def run_rows(spec: RunSpec, trace: Trace) -> Iterator[Measured]:
    """What a run's trace says of the constants."""
    case = Case(model=spec.model, machine=named("this-host"), plan=spec.plan, recipe=spec.recipe)
    yield from op_rows(trace, case, spec.name)
    yield from gap_rows(trace, case, spec.name)


def _summary(fitted: Fit, source: str) -> dict[str, object]:
    constants = {
        key: dict(zip(("low", "value", "high"), fitted.interval(key), strict=True))
        for key in fitted.keys
    }
    return {
        "source": source,
        "constants": constants,
        "log_sigmas": fitted.log_sigmas,
        "warnings": fitted.warnings,
        "num_rows": len(fitted.rows),
    }


def _print(fitted: Fit, out: Path, console: Console) -> None:
    table = Table(box=None, padding=(0, 2))
    for heading in ("constant", "value", "95 % interval"):
        table.add_column(heading, justify="left" if heading == "constant" else "right")
    for key in fitted.keys:
        low, value, high = fitted.interval(key)
        table.add_row(key, f"{value:.4g}", f"{low:.4g} to {high:.4g}")
    console.print(table)
    for warning in fitted.warnings:
        console.print(f"[yellow]warning[/]: {warning}")
    console.print(f"{len(fitted.rows)} measurements; machine file: {out}")


if __name__ == "__main__":
    sys.exit(run(main, Config))
