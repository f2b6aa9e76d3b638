"""Configurations: all predicted before the first of them runs, then measured one by one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.report.wording import number, signed_percent
from analysis.validation.peak_memory import MemoryScores
from experiments.campaign.recorded_run import case_of, write_recorded
from experiments.campaign.references import References
from experiments.cli import write_file
from experiments.comparison.compared import Validated, compared, scores_of
from experiments.comparison.output import record_validation, write_validation
from experiments.day.configurations import Design
from experiments.day.parts import Deadline
from experiments.day.table import Row, table_text
from experiments.folder.provenance import provenance
from zo2rt.backends import Backend
from zo2rt.measure.calm import Turn
from zo2rt.measure.runs import MeasuredRun, Running, RunSpec, opened
from zo2rt.measure.synthetic import synthetic_model
from zo2sim.machines.machine import Machine
from zo2sim.predict.bands import band
from zo2sim.predict.predict import Prediction, predict

_SEED = 0  # of the draws behind the bands
_TURNS = 3
_MOST_STEPS = 6
_STEPPED_SHARE = 0.7  # of what is left of a configuration's time once it has been set up


class Runs:
    """``predictions.json`` is there before anything runs; ``table.txt`` and ``table.json``, and
    the run itself under ``validation/NN``, as soon as a configuration was measured."""

    def __init__(self, folder: Path, make: Callable[[], Backend]) -> None:
        self.folder = folder
        self.rows: dict[str, Row] = {}
        self._make = make
        self._specs: dict[str, RunSpec] = {}
        self._predictions: dict[str, Prediction] = {}
        self._found: dict[str, Validated] = {}

    def predict(self, designs: dict[str, Design], machine: Machine, deadline: Deadline) -> str:
        """Predict all; one that cannot be predicted is not measured, and says why."""
        refused: list[str] = []
        for name, design in designs.items():
            deadline.check()
            try:
                self._predict(design(), machine)
            except ValueError as error:
                refused.append(f"{name}: {error}")
            self._write_table()
        content = {name: row.as_dict for name, row in self.rows.items()}
        write_file(self.folder / "predictions.json", json.dumps(content, indent=1).encode())
        return "; ".join((f"{len(self.rows)} of {len(designs)} predicted", *refused))

    def measure(self, name: str, deadline: Deadline) -> str:
        """Run one in turns, compare it with its prediction, and write what it leaves."""
        if name not in self._predictions:
            raise RuntimeError("it was not predicted, so it is not measured")
        spec, prediction = self._specs[name], self._predictions[name]
        with opened(spec, self._make, synthetic_model) as running:
            turns = _turns(running, prediction.trace.steps_per_period, deadline)
            run = running.measured(turns)
        self._enter(run, prediction)
        row = self.rows[name]
        assert row.error is not None, "it has just been measured"
        return (
            f"predicted {signed_percent(row.error)}, {'in' if row.in_band else 'not in'} its band"
        )

    def finish(self, settings: dict[str, Any]) -> str:
        """The errors in the machine file, then the folder that `experiments.report` takes."""
        if not self._found:
            raise RuntimeError("no configuration was measured, so there is nothing to compare")
        found = [self._found[name] for name in self._specs if name in self._found]
        scores = scores_of(found)
        machine = found[0].prediction.case.machine
        record_validation(self.folder / "machine.toml", machine, scores)
        write_validation(self.folder / "validation", found, MemoryScores(), settings, typeset=False)
        return f"{scores.n} configurations, mean absolute error {scores.mape:.1%}"

    def _predict(self, spec: RunSpec, machine: Machine) -> None:
        prediction = predict(case_of(spec, machine))
        spread = band(prediction, seed=_SEED)
        self._specs[spec.name], self._predictions[spec.name] = spec, prediction
        self.rows[spec.name] = Row(
            name=spec.name,
            setting=_setting(spec),
            predicted_s=prediction.step_s,
            low_s=spread.low_step_s,
            high_s=spread.high_step_s,
        )

    def _enter(self, run: MeasuredRun, prediction: Prediction) -> None:
        name, machine = run.spec.name, prediction.case.machine
        metadata = provenance(seed=_SEED, machines=[machine.name])
        references = References.of(machine, [run.turns])
        one = compared(run, prediction, references, seed=_SEED)
        write_recorded(self._run_folder(), run, metadata=metadata)
        self._found[name] = one
        self.rows[name] = replace(self.rows[name], measured_s=one.comparison.step_s)
        self._write_table()

    def _run_folder(self) -> Path:
        """As `write_validation` will number it."""
        return self.folder / "validation" / f"{len(self._found):02d}"

    def _write_table(self) -> None:
        rows = [*self.rows.values()]
        content = {"schema": 1, "configurations": [row.as_dict for row in rows]}
        write_file(self.folder / "table.json", json.dumps(content, indent=1).encode())
        write_file(self.folder / "table.txt", table_text(rows).encode())


def _turns(running: Running, period: int, deadline: Deadline) -> list[Turn]:
    """At least one step, and as many turns as there is time for, each of whole periods."""
    (once_s,) = running.steps_s(1, warm_up=1).values()
    most = _STEPPED_SHARE * deadline.left_s / once_s
    count = max(1, min(_MOST_STEPS, int(most / _TURNS))) if period == 1 else period
    warm_up = 1 if most > _TURNS * (count + 1) else 0
    turns: list[Turn] = []
    while not turns or (len(turns) < _TURNS and deadline.left_s > count * once_s):
        turns.append(Turn(steps_s=running.steps_s(count, warm_up=warm_up), references_s=()))
    return turns


def _setting(spec: RunSpec) -> str:
    """What it is, for people."""
    config, how, plan = spec.config, spec.recipe, spec.plan
    words = (
        f"OPT, hidden {config['hidden_size']}, {config['num_hidden_layers']} blocks",
        f"{number(spec.model.elements / 1e6)} million weights in {how.storage_dtype}",
        f"computed in {how.compute_dtype}" if how.compute_dtype is not how.storage_dtype else "",
        f"{how.batch}x{how.sequence} tokens",
        str(plan.policy),
        f"write-back every {plan.write_back_every}" if plan.write_back_every > 1 else "",
        plan.pinning if plan.pinning == "pageable" else "",
        how.trainable if how.trainable != "all" else "",
    )
    return ", ".join(word for word in words if word)
