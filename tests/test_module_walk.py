"""How far a question goes before it is answered, in modules: few, so that the way can be read."""

import json
from pathlib import Path

from experiments import plan, run, tune
from experiments.case.spec import Spec
from experiments.training.result import TrainingRun
from experiments.training.settings import Config
from experiments.training.setup import Setup
from tests.commands import call
from tests.module_walk import walked
from tests.tiny_causal import save
from zo2sim.predict.case import Case
from zo2sim.search.space import PlanSpace


def test_a_plan_is_answered_within_nine_modules():
    with walked((plan.Config, Spec, Case), "zo2sim.predict.predict.predict") as modules:
        call(plan, "--model", "opt-125m", "--json", "-")
    assert modules[:3] == ["experiments.plan", "experiments.case.target", "experiments.case.spec"]
    assert len(modules) <= 9


def test_a_search_is_answered_within_eighteen_modules():
    question = (tune.Config, Spec, Case, PlanSpace)
    axes = ("--axis", "tier=ram", "--axis", "num-slots=2,3", "--simulations", "1")
    with walked(question, "zo2sim.search.search.search") as modules:
        call(tune, "--model", "opt-125m", *axes, "--json", "-")
    assert modules[0] == "experiments.tune"
    assert len(modules) <= 18


def test_a_run_is_trained_within_twelve_modules(tmp_path: Path):
    rows = [{"text": f"{n}", "label": "even" if n % 2 == 0 else "odd"} for n in range(20)]
    data = tmp_path / "parity.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = save(tmp_path / "tiny")
    small = ("--steps", "1", "--batch", "2", "--sequence", "16", "--no-report")
    question = (Config, Setup, TrainingRun, Case)
    with walked(question, "experiments.training.result.TrainingRun.run") as modules:
        call(run, "--model", str(model), "--data", str(data), *small, "--out", str(tmp_path / "o"))
    assert modules[0] == "experiments.run"
    assert len(modules) <= 12
