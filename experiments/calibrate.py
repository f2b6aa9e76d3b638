"""Measure this machine and write its machine file, in a few minutes.

python -m experiments.calibrate --backend host --out machine.toml
python -m experiments.calibrate --backend cuda --out card.toml
python -m experiments.calibrate --from-run runs/a runs/b --machine machine.toml --out new.toml
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Literal, Self

import psutil
from rich.console import Console
from rich.markup import escape

from analysis.fits.card import base_machine, calibrated_card, start_s
from analysis.fits.law import Fit, fit
from analysis.fits.machine import START_S, HostSpecs, calibrated, together_ratio, with_constants
from analysis.fits.machine import quantities as fitted_quantities
from analysis.plots.residuals import residuals
from analysis.plots.style import svg_text
from experiments.campaign.benchmarks import Campaign
from experiments.campaign.card import CardCampaign, PartName, card_room, open_card, run_rows
from experiments.campaign.crowded import with_crowded
from experiments.campaign.designs import reference_runs
from experiments.campaign.host import measure_crowded, measure_host, rows_of
from experiments.campaign.recorded_run import case_of, read_recorded
from experiments.campaign.references import excess, misfit_ratio
from experiments.cli import Answer, finish, run, write_file
from experiments.entry.flags import refuse
from experiments.folder.provenance import commit
from experiments.screen import headed, right
from zo2rt.measure.card import read_card
from zo2sim.cost.measured import Measured
from zo2sim.machines.file import dump, named, resolve
from zo2sim.machines.machine import Machine
from zo2sim.machines.quantity import Quantity
from zo2sim.machines.units import suiting
from zo2sim.predict.extrapolation import seen

_FOLDS = 5
"""Of the runs, each left out in its turn: their steps say how far the law is from other runs."""
_IDENTIFIED = 3.0
"""Runs change a constant only where its 95 % interval is no wider than this factor."""
_NOISY = 0.03
"""How far a run's step scatters from which on calibrations were seen to miss what is promised."""

_QUICK = 0.1


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure this machine and write its machine file."""

    backend: Literal["host", "cuda"] = "host"
    """What computes: this machine's CPU, or its GPU."""
    out: Path = Path("machine.toml")
    """The machine file to write; the residuals are drawn beside it, as SVG."""
    from_run: tuple[Path, ...] = ()
    """Folders of real runs: fit what their traces tell, and measure nothing."""
    machine: str = "this-host"
    """With --from-run: the machine whose other constants stay as they are."""
    effort: float = 1.0
    """How much to measure: 0.1 for a quick look, 1 for a calibration."""
    quick: bool = False
    """A quick look: --effort 0.1."""
    only: tuple[PartName, ...] = ()
    """Parts of a card's calibration to measure; the rest stays as in the catalogue. All, if none
    is named."""
    seed: int = 0
    """Of the shapes that are drawn."""
    json: str | None = None
    """Write the constants as JSON to this file, or to stdout with '-'."""

    def __post_init__(self) -> None:
        if not 0.0 < self.effort <= 10.0:
            raise ValueError(f"--effort must be above 0 and at most 10; got {self.effort}")
        if self.only and (self.backend != "cuda" or self.from_run):
            raise ValueError(
                "--only must stand beside --backend cuda: constants of a host, and of runs, are "
                "fitted together"
            )

    def typed(self, flags: frozenset[str]) -> Self:
        """Refuse the flags of what is not measured."""
        if self.from_run:
            idle = ("--backend", "--effort", "--quick", "--seed")
            refuse(flags, idle, "with --from-run: runs tell all")
        else:
            refuse(flags, ("--machine",), "without --from-run: this machine is measured")
        if not self.quick:
            return self
        refuse(flags, ("--effort",), "with --quick, which is an effort of its own")
        return replace(self, effort=_QUICK)


def main(config: Config) -> int:
    source = f"python -m experiments.calibrate, {date.today()}, commit {commit()}"
    fitted, machine = _calibration(config)(config, source)
    write_file(config.out, dump(machine).encode())
    write_file(config.out.with_suffix(".residuals.svg"), svg_text(residuals(fitted)).encode())
    answer = Answer(
        _summary(fitted, machine, source), lambda: _print(fitted, machine, config.out, Console())
    )
    return finish(answer, config.json)


def warnings(fitted: Fit, machine: Machine) -> list[str]:
    """What the measurements cannot tell, and whether the hour was too noisy for them."""
    jitter = 0.0 if machine.cpu is None else machine.cpu.jitter_ratio.value
    if jitter <= _NOISY:
        return [*fitted.warnings]
    noisy = (
        f"steps scattered by {jitter:.1%} while this machine was calibrated, above {_NOISY:.0%}: "
        "calibrate again in a quieter hour"
    )
    return [noisy, *fitted.warnings]


def _calibration(config: Config) -> Callable[[Config, str], tuple[Fit, Machine]]:
    if config.from_run:
        return _from_runs
    return _measured_card if config.backend == "cuda" else _measured


def _campaign(config: Config) -> Campaign:
    config.out.parent.mkdir(parents=True, exist_ok=True)  # the disk is measured there
    return Campaign(effort=config.effort, seed=config.seed, folder=config.out.parent)


def _measured_card(config: Config, source: str) -> tuple[Fit, Machine]:
    """Benchmarks give the constants; short runs then say how far the model is from the engine."""
    open_card().close()  # refused before anything is measured
    card = read_card()
    source = f"{source}, --backend cuda on {card.name}"
    base = base_machine(card.name, card.architecture)
    own = CardCampaign(campaign=_campaign(config), machine=base)
    rows = (replace(own, only=config.only) if config.only else own).rows()
    fitted = _fit_card(rows, base)
    room = _room(config.out.parent)
    machine = calibrated_card(base, fitted, card_room(card), room, source=source)
    if config.only:
        return fitted, machine
    return _fit_card([*rows, *run_rows(machine)], base), machine


def _fit_card(rows: Sequence[Measured], base: Machine) -> Fit:
    keys = frozenset(key for row in rows for key in row.amounts)
    return fit(rows, start_s(base, keys))


def _measured(config: Config, source: str) -> tuple[Fit, Machine]:
    campaign = _campaign(config)
    found = measure_host(campaign)
    room = _room(config.out.parent)

    def from_rows(rows: Sequence[Measured]) -> tuple[Fit, Machine]:
        fitted = fit(rows, START_S)
        return fitted, calibrated(named("this-host"), fitted, room, found.again, source=source)

    fitted, machine = from_rows(found.all_rows)
    squares: list[float] = []
    for rows, left_out in found.folds(_FOLDS):
        squares += excess(from_rows(rows)[1], left_out)
    specs = [*(run.spec for run in found.runs), *reference_runs()]
    ratios = {
        "cpu.misfit_ratio": misfit_ratio(squares),
        "cpu.together_ratio": together_ratio(fitted, (case_of(s, machine) for s in specs)),
    }
    machine = with_constants(
        machine, {key: Quantity(ratio, "fitted", source) for key, ratio in ratios.items()}
    )
    machine = with_crowded(machine, measure_crowded(campaign), source)
    told = (case_of(run.spec) for run in found.runs)  # rows come from no reference
    return fitted, replace(machine, calibrated=seen(told, source))


def _from_runs(config: Config, source: str) -> tuple[Fit, Machine]:
    """What the runs identify; everything else stays as the machine has it."""
    machine = resolve(config.machine)
    if machine.cpu is None:
        raise ValueError(
            f"--machine {config.machine}: runs refine a machine that was calibrated, because they "
            "do not tell every constant; calibrate first, without --from-run"
        )
    recorded = [read_recorded(folder) for folder in config.from_run]
    fitted = fit([row for one in recorded for row in rows_of(one)], START_S)
    told = [key for key in fitted.keys if _factor(fitted, key) <= _IDENTIFIED]
    refined = with_constants(machine, fitted_quantities(fitted, source, keys=told))
    cases = [case_of(one.spec) for one in recorded]
    return fitted, replace(refined, calibrated=seen(cases, source, before=machine.calibrated))


def _factor(fitted: Fit, key: str) -> float:
    low, _, high = fitted.interval(key)
    return high / low


def _room(folder: Path) -> HostSpecs:
    return HostSpecs(
        num_cores=psutil.cpu_count(logical=False) or 1,
        memory_bytes=psutil.virtual_memory().total,
        disk_bytes=psutil.disk_usage(str(folder)).total,
    )


def _summary(fitted: Fit, machine: Machine, source: str) -> dict[str, object]:
    constants = {
        key: dict(zip(("low", "value", "high"), fitted.interval(key), strict=True))
        for key in fitted.keys
    }
    return {
        "source": source,
        "constants": constants,
        "log_sigmas": fitted.log_sigmas,
        "warnings": warnings(fitted, machine),
        "num_rows": len(fitted.rows),
    }


def _print(fitted: Fit, machine: Machine, out: Path, console: Console) -> None:
    table = headed("constant", *right("value", "95 % interval", whole=True), "", gap=1)
    for key in fitted.keys:
        low, value, high = fitted.interval(key)
        unit = suiting(key, value)
        ends = " to ".join(f"{end / unit.to_si(1.0):.4g}" for end in (low, high))
        told = key not in fitted.untold
        table.add_row(
            key, f"{value / unit.to_si(1.0):.4g}", ends if told else "not told", unit.symbol
        )
    console.print(table)
    found = warnings(fitted, machine)
    if found:
        more = f" (and {len(found) - 1} more; --json lists them)" if len(found) > 1 else ""
        console.print(f"[yellow]warning[/]: {escape(found[0])}{more}", soft_wrap=True)
    console.print(
        f"{len(fitted.rows)} measurements; machine file: {escape(str(out))}", soft_wrap=True
    )
    console.print(f"next: zo2sim plan --machine {escape(str(out))}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(run(main, Config))
