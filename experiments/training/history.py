"""What a run measured, step by step: kept in memory, and line by line in a file.

The journal is what weights are rebuilt from; this is for people. A killed process may have written
the journal's record of its last step and not the line here: it is derived from the record then, and
only what the step took is not known.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.cli import write_file
from zo2rt.journal import Record
from zo2rt.steps.outcome import Outcome
from zo2sim.reading import read_text
from zo2sim.writing import writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Of the weights after ``step`` steps. ``accuracy`` is None where nothing is chosen, and the
    loss where it is not finite: JSON has no NaN."""

    step: int
    held_out_loss: float | None
    accuracy: float | None


_KINDS = {"step": Outcome, "evaluation": Evaluation}


@dataclass(slots=True)
class History:
    """Steps and evaluations in order; with ``path``, each is appended as it comes."""

    path: Path | None = None
    steps: list[Outcome] = field(default_factory=list[Outcome])
    evaluations: list[Evaluation] = field(default_factory=list[Evaluation])

    @classmethod
    def resumed(
        cls, path: Path, num_steps: int, journal: Callable[[int], Sequence[Record]], *, tokens: int
    ) -> "History":
        """What was measured up to ``num_steps`` steps; a torn line, and all later ones, go.

        ``journal`` gives the records from a step on, for lines that are missing; each read
        ``tokens``.
        """
        found = cls()
        for line in read_text(path, None).split("\n") if path.exists() else ():
            found._take(line)
        steps = {line.step: line for line in found.steps if line.step < num_steps}
        missing = next((step for step in range(num_steps) if step not in steps), None)
        for record in () if missing is None else journal(missing):
            steps.setdefault(record.step, Outcome.of(record, tokens=tokens))
        evaluations = {e.step: e for e in found.evaluations if e.step <= num_steps}
        lines = [*evaluations.values(), *steps.values()]  # weights are judged before their step
        lines.sort(key=lambda line: line.step)
        write_file(path, "".join(map(_text, lines)).encode())
        kept = cls(path)
        for line in lines:
            kept._keep(line)
        return kept

    def add(self, line: Outcome | Evaluation) -> None:
        """Append a line, durably enough for a kill of this process; an evaluation durably."""
        self._keep(line)
        if self.path is not None:
            with writing(self.path), self.path.open("a") as file:
                file.write(_text(line))
                file.flush()
                if isinstance(line, Evaluation):
                    os.fsync(file.fileno())

    def evaluated(self, step: int) -> bool:
        return any(e.step == step for e in self.evaluations)

    def step_table(self) -> pd.DataFrame:
        table = pd.DataFrame([asdict(line) for line in self.steps], columns=_columns(Outcome))
        return table.astype({"loss": "float64", "wall_s": "float64", "exposed_s": "float64"})

    def evaluation_table(self) -> pd.DataFrame:
        rows = [asdict(e) for e in self.evaluations]
        table = pd.DataFrame(rows, columns=_columns(Evaluation))
        return table.astype({"held_out_loss": "float64"})

    def _keep(self, line: Outcome | Evaluation) -> None:
        if isinstance(line, Outcome):
            self.steps.append(line)
        else:
            self.evaluations.append(line)

    def _take(self, text: str) -> None:
        try:
            entry: Mapping[str, Any] = json.loads(text)
            content = {name: value for name, value in entry.items() if name != "kind"}
            if type(content["step"]) is int:
                self._keep(_KINDS[entry["kind"]](**content))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return  # torn by a kill, or written by nobody


def _text(line: Outcome | Evaluation) -> str:
    kind = "step" if isinstance(line, Outcome) else "evaluation"
    return json.dumps({"kind": kind, **asdict(line)}) + "\n"


def _columns(kind: type[Outcome] | type[Evaluation]) -> list[str]:
    return list(kind.__dataclass_fields__)
