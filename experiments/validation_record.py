"""A validation's errors in the machine file that predicted it."""

from datetime import date
from pathlib import Path

from analysis.validation.scores import Scores
from experiments.cli import read_text, write_file
from experiments.identity import command, commit
from zo2sim.machines.evidence import Validation
from zo2sim.machines.evidence_file import with_validation
from zo2sim.machines.file import load
from zo2sim.machines.machine import Machine


def record_validation(path: Path, machine: Machine, scores: Scores) -> None:
    """Write the section [validation]; the rest of the file stays as it is written.

    Raises ``ValueError`` where the file holds other constants by now: they were not validated.
    """
    text = read_text(path)
    if load(text, where=str(path)).constants != machine.constants:
        raise ValueError(f"{path}: must hold the constants that were validated; it was changed")
    found = Validation(
        n=scores.n,
        mape=scores.mape,
        max_ape=scores.max_ape,
        mpe=scores.mpe,
        coverage_90=scores.coverage_90,
        constants=machine.constants,
        date=str(date.today()),
        source=f"{command()}, commit {commit()}",
    )
    write_file(path, with_validation(text, found).encode())
