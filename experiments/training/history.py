"""What a run measured, step by step: kept in memory, and line by line in a file.

The journal is what weights are rebuilt from; this is for people. A killed process may have written
the journal's record of its last step and not the line here: then that line is missing.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from zo2rt.steps.outcome import Outcome


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
    def resumed(cls, path: Path, num_steps: int) -> "History":
        """What was measured up to ``num_steps`` steps; a torn line, and all later ones, go."""
        found = cls()
        for line in path.read_text().splitlines() if path.exists() else ():
            found._take(line)
        steps = [line for line in found.steps if line.step < num_steps]
        evaluations = [e for e in found.evaluations if e.step <= num_steps]
        path.write_text("")
        kept = cls(path)
        for line in sorted((*steps, *evaluations), key=lambda line: line.step):
            kept.add(line)
        return kept

    def add(self, line: Outcome | Evaluation) -> None:
        """Append a line, durably enough for a kill of this process."""
        self._keep(line)
        if self.path is not None:
            kind = "step" if isinstance(line, Outcome) else "evaluation"
            with self.path.open("a") as file:
                file.write(json.dumps({"kind": kind, **asdict(line)}) + "\n")

    def evaluated(self, step: int) -> bool:
        return any(e.step == step for e in self.evaluations)

    def step_table(self) -> pd.DataFrame:
        return pd.DataFrame([asdict(line) for line in self.steps], columns=_columns(Outcome))

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


def _columns(kind: type[Outcome] | type[Evaluation]) -> list[str]:
    return list(kind.__dataclass_fields__)
