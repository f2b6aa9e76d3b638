"""An earlier validation, read back: its runs and their turns, to score another machine file on."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.campaign.recorded_run import read_recorded
from experiments.cli import json_object
from zo2rt.measure.calm import Turn
from zo2rt.measure.runs import MeasuredRun
from zo2sim.checks import first_line
from zo2sim.reading import read_text


def read_measured(folder: Path) -> list[MeasuredRun]:
    """Its runs; each has as many turns, of as many steps.

    Raises ``ValueError`` that names the folder where it holds no validation.
    """
    try:
        summary = folder / "summary.json"
        rows = json_object(read_text(summary), where=str(summary))["configurations"]
        return [_run(folder / f"{number:02d}", row) for number, row in enumerate(rows)]
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder}: must be the folder of a validation, as this validate --out writes it; "
            f"{first_line(error)}"
        ) from None


def _run(folder: Path, row: Mapping[str, Any]) -> MeasuredRun:
    recorded = read_recorded(folder)
    return replace(
        recorded,
        spec=replace(recorded.spec, name=row["name"]),
        turns=[_turn(turn) for turn in row["turns"]],
        divergence=row["divergence"],
    )


def _turn(row: Mapping[str, Any]) -> Turn:
    """JSON has made the numbers of the steps strings."""
    steps_s = {int(step): seconds for step, seconds in row["steps_s"].items()}
    return Turn(steps_s=steps_s, references_s=row["references_s"])
