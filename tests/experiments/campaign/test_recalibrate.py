"""From runs to a machine file: only constants that they tell are changed, to what they were."""

import json
from pathlib import Path

import pandas as pd
import pytest

from experiments import calibrate, run
from experiments.campaign.designs import opt, recipe
from experiments.campaign.recorded_run import case_of, read_recorded, write_recorded
from tests.calibrated import calibrated_host
from tests.commands import call
from tests.experiments.training.undrawn import undraw
from tests.tiny_causal import save
from zo2rt.measure.runs import MeasuredRun, RunSpec
from zo2sim.machines.file import dump, resolve
from zo2sim.machines.machine import Machine
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.simulate.events import simulate

TELLS = 3.0
"""Highest over lowest of an interval up to which a constant counts as told."""


def fine_tuned(folder: Path, *flags: str) -> Path:
    """The folder of a short real run."""
    folder.mkdir(exist_ok=True)
    data = folder / "data.jsonl"
    data.write_text("".join(f'{{"text": "{n}", "label": "{n % 2}"}}\n' for n in range(20)))
    words = ("--model", str(save(folder / "model")), "--data", str(data), "--no-report")
    small = ("--batch", "2", "--sequence", "16", "--steps", "8", "--eval-every", "0")
    outcome = call(run, *words, *small, *flags, "--out", str(folder / "run"))
    assert (outcome.code, outcome.err) == (0, "")
    return folder / "run"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with three slots, which no test changes."""
    return fine_tuned(tmp_path_factory.mktemp("tuned"), "--num-slots", "3")


def simulated(folder: Path, machine: Machine, plan: Plan, recipe: Recipe) -> Path:
    """The folder of a run that takes what is predicted of it, however busy this machine is."""
    spec = RunSpec(name=folder.name, config=opt(64, 6, vocab=300), plan=plan, recipe=recipe)
    case = case_of(spec, machine)
    trace = simulate(case.program, case.cost, case.cost.rates, periods=8)
    write_recorded(folder, MeasuredRun(spec=spec, trace=trace), metadata={})
    return folder


def test_a_run_changes_the_constants_that_it_tells_and_no_others(tmp_path: Path):
    """Four runs of different shapes: one alone has hardly more measurements than constants."""
    shapes = {
        "a": (Plan(), recipe(batch=2, sequence=16, noise="rademacher")),
        "b": (Plan(), recipe(batch=4, sequence=64, noise="rademacher")),
        "c": (Plan(num_slots=3), recipe(batch=1, sequence=32)),
        "d": (Plan(policy=Policy.RESIDENT), recipe(batch=2, sequence=16, noise="rademacher")),
    }
    folders = [simulated(tmp_path / name, calibrated_host(), *how) for name, how in shapes.items()]
    before, after = calibrated_host(), tmp_path / "after.toml"
    (tmp_path / "before.toml").write_text(dump(before))
    words = ("--from-run", *map(str, folders), "--machine", str(tmp_path / "before.toml"))
    done = call(calibrate, *words, "--out", str(after), "--json", "-")
    assert (done.code, done.err) == (0, "")
    told = {k for k, c in done.json["constants"].items() if c["high"] / c["low"] <= TELLS}
    found = resolve(after)
    changed = {k for k, q in found.quantities.items() if q != before.quantities[k]}
    assert changed == {k for k in told if not k.startswith("bench.")}
    assert 0 < len(changed) < len(done.json["constants"])
    assert all("experiments.calibrate" in found.quantities[k].source for k in changed)
    alone = {key for key in changed if key.startswith("cpu.") and key != "cpu.copy_start_s"}
    assert len(alone) >= 5, "copies contend; what computes does not"
    for key in alone:
        value = before.quantities[key].value
        assert found.quantities[key].value == pytest.approx(value, rel=0.2), key
    assert done.json["warnings"], "one shape cannot tell everything"


def test_the_folder_says_what_ran(tuned: Path):
    recorded = read_recorded(tuned)
    settings = json.loads((tuned / "config.json").read_text())["settings"]
    assert recorded.spec.plan.num_slots == settings["plan"]["num_slots"] == 3
    assert recorded.spec.config["hidden_size"] == 16
    assert set(range(8)) <= {span.step for span in recorded.trace.spans}


def test_a_run_samples_what_the_machine_did(tuned: Path):
    samples = pd.read_parquet(tuned / "samples.parquet")
    assert len(samples) >= 2
    assert samples["host_rss_bytes"].notna().to_numpy().all()
    summary = json.loads((tuned / "summary.json").read_text())
    assert summary["host_rss_bytes"] == samples["host_rss_bytes"].max()
    assert (summary["energy_per_step_j"], summary["sampling_notes"]) == (None, [])
    assert (tuned / "figures" / "machine.svg").stat().st_size > 1000
    assert 'key": "machine"' in (tuned / "report.json").read_text()


def test_virtual_time_calibrates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    undraw(monkeypatch.setattr)
    folder = fine_tuned(tmp_path, "--backend", "virtual")
    with pytest.raises(ValueError, match=r"must be a run's folder with model.json, plan.toml"):
        read_recorded(folder)
