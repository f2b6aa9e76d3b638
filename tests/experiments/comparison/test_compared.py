"""A configuration on a machine that has drifted: its prediction beside what it takes there."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from analysis.plots.paired_timelines import loss_to_loss
from analysis.validation.peak_memory import MemoryScores
from experiments import validate
from experiments.campaign.designs import held_out_runs
from experiments.campaign.recorded_run import case_of
from experiments.campaign.references import References
from experiments.comparison.compared import Validated, compared
from experiments.comparison.screen import show
from tests.calibrated import referenced_host, references_s
from tests.commands import call
from zo2rt.measure.calm import Turn
from zo2rt.measure.runs import MeasuredRun
from zo2sim.predict.drift import Drift, drifted
from zo2sim.predict.predict import predict
from zo2sim.simulate.events import simulate

STEPS = 9


def validated(drift: Drift, *, kept: int = STEPS) -> Validated:
    """The first held-out configuration, on a machine of which only the drift is wrong.

    ``kept`` is how many of its steps the trace still holds.
    """
    machine = referenced_host()
    spec = replace(next(held_out_runs()), link_bytes_per_s=None)
    prediction = predict(case_of(spec, machine))
    slow = case_of(spec, drifted(machine, drift))
    trace = simulate(slow.program, slow.cost, slow.cost.rates, periods=STEPS)
    steps_s = dict.fromkeys(range(3, STEPS), trace.step_s)
    spans = tuple(span for span in trace.spans if span.step >= STEPS - kept)
    turn = Turn(steps_s=steps_s, references_s=references_s(drifted(machine, drift)))
    held = replace(trace, spans=spans)
    run = MeasuredRun(spec=spec, trace=held, turns=(turn,))
    return compared(run, prediction, References.of(machine, [run.turns]), seed=0)


@pytest.mark.parametrize("drift", [Drift(), Drift(computing=1.1, starting=1.5)])
def test_drift_is_no_error(drift: Drift):
    one = validated(drift)
    c = one.comparison
    assert c.step_s == pytest.approx(c.predicted_s, rel=0.01)
    assert c.machine_drift.computing == pytest.approx(drift.computing, rel=0.01)
    assert c.machine_drift.starting == pytest.approx(drift.starting, rel=0.01)
    assert c.rules_error == pytest.approx(0.0, abs=0.002)
    assert [error.ratio for error in one.errors] == pytest.approx([1.0] * len(one.errors), rel=0.03)


@pytest.mark.parametrize(("kept", "drawn"), [(STEPS, 3), (6, 4), (2, 8)])
def test_the_step_that_is_drawn_is_one_that_the_trace_holds(kept: int, drawn: int):
    """Steps 3 and 4 are the calm third; a step is drawn from the loss before it on."""
    one = validated(Drift(), kept=kept)
    assert one.drawn_step == drawn
    assert loss_to_loss(one.run.trace, drawn).length_s == pytest.approx(one.comparison.step_s)


def test_a_machine_that_changed_is_said_to_on_the_screen():
    def screen(drift: Drift) -> str:
        console = Console(file=StringIO(), width=80)
        show([validated(drift)], MemoryScores(), console)
        assert isinstance(console.file, StringIO)
        return console.file.getvalue()

    (row,) = (line for line in screen(Drift()).splitlines() if line.startswith(" opt 224, 1x80"))
    assert row.split()[-4:] == ["+0.0%", "in", "+0.0%", "-"], "one turn tells no scatter"
    assert "calibrate again" in screen(Drift(computing=1.2, starting=1.2))
    assert "calibrate again" not in screen(Drift())


def test_without_a_calibration_the_way_to_one_is_said(tmp_path: Path):
    ran = call(validate, "--machine", str(tmp_path / "machine.toml"))
    assert ran.code == 2
    assert "machine.toml; zo2sim calibrate measures this machine" in ran.complaint
