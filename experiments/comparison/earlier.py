"""An earlier validation, read back: its runs and their turns, to score another machine file on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.campaign.recorded_run import read_recorded
from experiments.cli import read_text
from zo2rt.measure.calm import Turn
from zo2rt.measure.runs import RunSpec
from zo2sim.simulate.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRun:
    """One configuration as it ran.

    ``trace`` is of the latest steps; ``divergence`` is how any of them all differs from what was
    predicted to run, or None.
    """

    spec: RunSpec
    trace: Trace
    turns: tuple[Turn, ...]
    divergence: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What a validation measured: ``turns`` turns of ``steps`` counted steps each."""

    turns: int
    steps: int
    runs: tuple[MeasuredRun, ...]


def read_measurements(folder: Path) -> Measurements:
    """Raises ``ValueError`` that names the folder where it holds no validation."""
    try:
        summary = json.loads(read_text(folder / "summary.json"))
        settings = json.loads(read_text(folder / "config.json"))
        rows = summary["configurations"]
        return Measurements(
            turns=int(settings["turns"]),
            steps=int(settings["steps"]),
            runs=tuple(_run(folder / f"{number:02d}", row) for number, row in enumerate(rows)),
        )
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{folder}: must be the folder of a validation, as this validate --out writes it; "
            f"{type(error).__name__}: {error}"
        ) from None


def _run(folder: Path, row: Mapping[str, Any]) -> MeasuredRun:
    recorded = read_recorded(folder)
    return MeasuredRun(
        spec=replace(recorded.spec, name=row["name"]),
        trace=recorded.trace,
        turns=tuple(_turn(turn) for turn in row["turns"]),
        divergence=row["divergence"],
    )


def _turn(row: Mapping[str, Any]) -> Turn:
    """JSON has made the numbers of the steps strings."""
    steps_s = {int(step): seconds for step, seconds in row["steps_s"].items()}
    return Turn(steps_s=steps_s, references_s=row["references_s"])
