"""`tune`: the answer as JSON, the plan as a file that `plan` reads, and what a user may vary."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments import plan, tune
from tests.commands import call

OPT_175B = ("--model", "opt-175b", "--machine", "rtx-4090-24gb", "--device-memory", "18GB")
SMALL = ("--model", "opt-125m", "--machine", "rtx-4090-24gb")
FEW = (
    *(*SMALL, "--axis", "resident-blocks=0,4", "--axis", "tier=ram", "--simulations", "4"),
    *("--axis", "write-back-every=1,4"),
)


def answer(*arguments: str) -> Any:
    return call(tune, *arguments, "--json", "-").json


def test_opt_175b_on_18_gb_is_searched_and_proven():
    found = answer(*OPT_175B)
    assert found["plans_evaluated"] >= 20_000
    assert found["best"]["device_bytes"] <= 18e9
    assert found["lower_bound_s"] <= found["step_s"]
    assert found["gap"] == pytest.approx(found["step_s"] / found["lower_bound_s"] - 1)
    assert found["gap"] <= 0.001
    assert found["step_s"] < call(plan, *OPT_175B, "--json", "-").json["step_s"]
    assert found["pareto"][0] == found["best"]


def test_the_best_plan_is_a_file_that_plan_reads(tmp_path: Path):
    file = tmp_path / "best.toml"
    found = answer(*FEW, "--free", "microbatches", "--write-plan", str(file))
    again = call(plan, *SMALL, "--plan", str(file), "--json", "-").json
    assert again["step_s"] == pytest.approx(found["step_s"], rel=1e-9)
    for place in ("device_bytes", "host_bytes"):
        assert again[place] == found["best"][place]


def test_the_recipe_stays_unless_it_is_freed():
    found = answer(*FEW, "--samples", "2")
    assert found["axes_that_change_the_recipe"] == []
    assert {(p["recipe"]["samples"], p["recipe"]["microbatches"]) for p in found["pareto"]} == {
        (2, 1)
    }
    freed = answer(*FEW, "--free", "microbatches", "--axis", "wire-dtype=fp16,fp8")
    assert freed["axes_that_change_the_recipe"] == ["microbatches", "wire_dtype"]
    assert freed["best"]["tokens_per_s"] > found["best"]["tokens_per_s"]


def test_one_value_pins_an_axis():
    found = answer(*FEW, "--axis", "num-slots=3", "--axis", "policy=dual")
    assert {(p["plan"]["policy"], p["plan"]["num_slots"]) for p in found["pareto"]} == {("dual", 3)}


def test_the_same_question_has_the_same_answer():
    assert answer(*FEW) == answer(*FEW)


def test_nothing_that_fits_is_the_answer_no():
    outcome = call(tune, *SMALL, "--device-memory", "1GB")
    assert (outcome.code, outcome.err) == (3, "")
    assert "no plan of the space fits" in outcome.out
    assert answer(*SMALL, "--device-memory", "1GB")["best"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--free", "microbatch"), "did you mean microbatches?"),
        (("--free", "num-slots"), "a plan's axes are free already"),
        (("--axis", "num-slots=0"), "num_slots must be a whole number >= 1; got 0"),
        (("--axis", "policy=zo2_reference"), "stands for other code"),
        (("--axis", "machine=t4-16gb"), "one model and one machine"),
        (("--axis", "policy=swap"), "policy must be one of"),
        (("--tolerance", "-1"), "must be >= 0"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], message: str):
    outcome = call(tune, *SMALL, *arguments)
    assert outcome.code == 2
    assert message in outcome.complaint


def test_the_screen_says_plan_bound_and_what_changes_the_recipe(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = call(tune, *FEW, "--free", "microbatches").out
    assert re.match(r"opt-125m on rtx-4090-24gb: the best of [\d,]+ plans\n  --policy \w+ ", out)
    assert re.search(r"lower bound +\S+ \w+: ", out)
    assert re.search(r"microbatches +1,2,4,8,16,32 +the recipe", out)
    assert re.search(r"num_slots +1,2,3,4,6,8 +nothing in the result", out)
    assert max(map(len, out.splitlines())) <= 80


def test_json_goes_to_a_file_beside_the_screen(tmp_path: Path):
    outcome = call(tune, *FEW, "--json", str(tmp_path / "a.json"))
    assert outcome.out.startswith("opt-125m on rtx-4090-24gb")
    assert json.loads((tmp_path / "a.json").read_text())["plans_simulated"] <= 8


def test_the_screen_ends_with_what_to_do_next(tmp_path: Path):
    small = (*SMALL, "--simulations", "1", "--tolerance", "1")
    assert "next  --write-plan best.toml writes the plan" in call(tune, *small).out
    assert "--free microbatches may find a faster one" in call(tune, *small).out
    file = tmp_path / "b.toml"
    out = call(tune, *FEW, "--write-plan", str(file)).out.replace(" \\\n     ", "")
    assert f"next  zo2sim plan --model opt-125m --machine rtx-4090-24gb --plan {file}\n" in out
    assert "may find a faster one" not in out
