"""`run`: it learns, it can be stopped and killed, and every plan gives the same bits."""

import gzip
import json
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from experiments import run
from experiments.training import output as run_output
from experiments.training import setup as prepared
from experiments.training.batches import Batches
from experiments.training.jsonl import read_task
from experiments.training.settings import RECIPE, Config, resumed
from tests.commands import Outcome, call
from tests.experiments.training.undrawn import undraw
from tests.tiny_causal import POSITIONS, save
from zo2rt.memory import room
from zo2rt.tensor_file import weights_sha256
from zo2sim.machines.file import named
from zo2sim.models.config import from_config
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.file import from_fields
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict

SMALL = (
    *("--steps", "6", "--eval-every", "3", "--save-every", "4", "--lr", "1e-3"),
    *("--batch", "2", "--sequence", "16", "--no-report"),
)
FILES = ("config.json", "records.parquet", "report.json", "run.json", "summary.json")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "parity.jsonl"
    rows = [{"text": f"{n}", "label": "even" if n % 2 == 0 else "odd"} for n in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def small(model: Path, data: Path) -> tuple[str, ...]:
    return ("--model", str(model), "--data", str(data), *SMALL)


@pytest.fixture(scope="module")
def whole(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run, which no test changes."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    outcome = call(run, "--model", str(model), "--data", str(data), *SMALL, "--out", str(folder))
    assert outcome.code == 0
    return folder


@pytest.fixture(autouse=True)
def undrawn(whole: Path, monkeypatch: pytest.MonkeyPatch):
    """``whole`` alone has its figures."""
    undraw(monkeypatch.setattr)


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def weights(folder: Path) -> str:
    return summary(folder)["weights_sha256"]


# What it writes


def test_a_run_leaves_its_folder(tmp_path: Path, small: tuple[str, ...], whole: Path):
    outcome = call(run, *small, "--out", str(tmp_path), "--json", "-")
    assert outcome.code == 0
    assert outcome.json == summary(tmp_path)
    assert (outcome.json["steps"], outcome.json["executed_as_scheduled"]) == (6, True)
    assert all((tmp_path / name).stat().st_size > 0 for name in FILES)
    drawn = {p.stem for p in (whole / "figures").iterdir() if p.stat().st_size > 1000}
    assert drawn == {"learning", "machine", "timeline"}
    trace = json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))
    assert {"Fhead", "F0", "F1", "Ftail"} <= {e["name"].split("@")[0] for e in trace["traceEvents"]}


def test_records_have_every_step_and_evaluation(whole: Path):
    table = pd.read_parquet(whole / "records.parquet")
    steps = {metric: [*rows["step"]] for metric, rows in table.groupby("metric")}
    assert steps["loss"] == steps["g"] == steps["tokens_per_s"] == [0, 1, 2, 3, 4, 5]
    assert steps["held_out_loss"] == steps["accuracy"] == [0, 3, 6]
    assert [*table[table["metric"] == "lr"]["value"]] == pytest.approx(
        [1e-3 * (6 - n) / 6 for n in range(6)]
    )
    assert "" not in set(table["unit"])


def test_the_model_that_it_saves_can_be_loaded_anywhere(whole: Path):
    loaded = AutoModelForCausalLM.from_pretrained(whole / "model")
    tokens = AutoTokenizer.from_pretrained(whole / "model")("12\nlabel:", return_tensors="pt")
    assert torch.isfinite(loaded(**tokens).logits).all()
    assert weights_sha256(loaded.named_parameters()) == weights(whole)


# The same bits


@pytest.mark.parametrize(
    "flags",
    [
        ("--policy", "resident"),
        ("--num-slots", "1", "--write-back-every", "3"),
        ("--policy", "host_update", "--backend", "virtual"),
        ("--eval-every", "0", "--save-every", "1"),
    ],
    ids=" ".join,
)
def test_no_plan_backend_or_interval_changes_a_bit(
    tmp_path: Path, whole: Path, small: tuple[str, ...], flags: tuple[str, ...]
):
    assert call(run, *small, "--out", str(tmp_path), *flags).code == 0
    assert weights(tmp_path) == weights(whole)


def test_it_compares_itself_with_another_policy(tmp_path: Path, small: tuple[str, ...]):
    outcome = call(run, *small, "--out", str(tmp_path), "--against", "resident")
    assert outcome.code == 0
    assert "against resident" in outcome.out
    assert "the same bits" in outcome.out
    assert summary(tmp_path)["differs_in"] == []


def test_a_difference_is_the_answer_no(
    tmp_path: Path, small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run_output, "differences", lambda *_: ("weights",))
    outcome = call(run, *small, "--out", str(tmp_path), "--against", "resident")
    assert outcome.code == 3
    assert "differs in weights" in outcome.out


def test_another_seed_gives_other_bits(tmp_path: Path, whole: Path, small: tuple[str, ...]):
    call(run, *small, "--out", str(tmp_path), "--seed", "1")
    assert weights(tmp_path) != weights(whole)


# Stopped and resumed


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ctrl-C comes during the steps in this list."""
    steps: list[int] = []
    made = run.watcher

    def watcher(*arguments: Any, **named: Any) -> Any:
        show = made(*arguments, **named)

        def watch(line: Any) -> None:
            show(line)
            if line.step in steps:
                signal.raise_signal(signal.SIGINT)

        return watch

    monkeypatch.setattr(run, "watcher", watcher)
    return steps


def interrupted(out: Path, small: tuple[str, ...], stopping: list[int], *at: int) -> Outcome:
    stopping[:] = at
    outcome = call(run, *small, "--out", str(out))
    stopping.clear()
    return outcome


@pytest.mark.parametrize("step", [0, 4])
def test_a_stopped_run_goes_on_to_the_same_bits(
    tmp_path: Path, whole: Path, small: tuple[str, ...], stopping: list[int], step: int
):
    stopped = tmp_path / "stopped"
    outcome = interrupted(stopped, small, stopping, step)
    assert outcome.code == 1
    assert f"stopped after {step + 1} of 6 steps" in outcome.out
    assert "zo2sim run --resume --out" in outcome.out
    assert call(run, "--resume", "--no-report", "--out", str(stopped)).code == 0
    assert weights(stopped) == weights(whole)
    same = ("training_loss_early", "training_loss_late", "held_out_loss_after", "accuracy_before")
    assert all(summary(stopped)[name] == summary(whole)[name] for name in same)


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path, small: tuple[str, ...]):
    call(run, *small, "--out", str(tmp_path))
    before = weights(tmp_path)
    assert call(run, "--resume", "--no-report", "--out", str(tmp_path)).code == 0
    assert weights(tmp_path) == before


def test_more_steps_can_be_asked_for_where_the_rate_is_constant(
    tmp_path: Path, small: tuple[str, ...]
):
    constant = (*small, "--schedule", "constant")
    call(run, *constant, "--out", str(tmp_path / "a"), "--steps", "2")
    more = ("--resume", "--no-report", "--steps", "3", "--out", str(tmp_path / "a"))
    assert call(run, *more).code == 0
    call(run, *constant, "--out", str(tmp_path / "b"), "--steps", "3")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_a_run_is_never_overwritten(whole: Path, small: tuple[str, ...]):
    outcome = call(run, *small, "--out", str(whole))
    assert outcome.code == 2
    assert "holds a run already; go on with it (--resume --out" in outcome.complaint


def test_changed_data_is_noticed(tmp_path: Path, model: Path, stopping: list[int]):
    data = tmp_path / "data.jsonl"
    data.write_text('{"text": "one"}\n{"text": "two"}\n')
    words = ("--model", str(model), "--data", str(data), *SMALL)
    interrupted(tmp_path / "run", words, stopping, 1)
    data.write_text('{"text": "one"}\n{"text": "three"}\n')
    outcome = call(run, "--resume", "--out", str(tmp_path / "run"))
    assert outcome.code == 2
    assert "must hold what it held when the run began" in outcome.complaint


def test_resume_takes_its_settings_from_the_folder(tmp_path: Path):
    stored = tmp_path / "config.json"
    with pytest.raises(ValueError, match=r"leave out --lr, --seed"):
        resumed(Config(resume=True, lr=1.0, seed=3), stored)
    with pytest.raises(ValueError, match=r"needs a run in --out; there is no .*config.json"):
        resumed(Config(resume=True), stored)


def test_steps_cannot_change_under_a_schedule_that_depends_on_them(
    tmp_path: Path, small: tuple[str, ...], stopping: list[int]
):
    interrupted(tmp_path, small, stopping, 2)
    outcome = call(run, "--resume", "--steps", "9", "--out", str(tmp_path))
    assert outcome.code == 2
    assert "--steps must stay 6 with --schedule linear" in outcome.complaint


# The plan


def test_an_automatic_plan_is_as_fast_as_any(tmp_path: Path, small: tuple[str, ...], model: Path):
    assert call(run, *small, "--out", str(tmp_path), "--plan", "auto").code == 0
    settings = json.loads((tmp_path / "config.json").read_text())["settings"]
    plan, recipe = from_fields(Plan, settings["plan"]), from_fields(Recipe, settings["recipe"])
    shape = from_config(json.loads((model / "config.json").read_text()), name="small")

    def step_s(plan: Plan) -> float:
        case = Case(model=shape, machine=named("this-host"), plan=plan, recipe=recipe)
        return predict(case).step_s

    others = (Plan(), Plan(policy=Policy.RESIDENT), Plan(policy=Policy.HOST_UPDATE))
    assert step_s(plan) <= 1.01 * min(map(step_s, others))


def test_an_automatic_plan_says_what_does_not_fit(tmp_path: Path, small: tuple[str, ...]):
    limit = ("--plan", "auto", "--device-memory", "2MB")
    outcome = call(run, *small, "--out", str(tmp_path), *limit)
    assert outcome.code == 3
    assert "no plan of the space fits this-host" in outcome.complaint


# Memory


def test_what_does_not_fit_is_the_answer_no_and_leaves_nothing(
    tmp_path: Path, small: tuple[str, ...]
):
    out = tmp_path / "run"
    outcome = call(run, *small, "--out", str(out), "--device-memory", "10KiB")
    assert outcome.code == 3
    assert "with policy=zo2 needs " in outcome.complaint
    assert "on the device, mostly for " in outcome.complaint
    assert "and 10.0 KiB are free for it: " in outcome.complaint
    assert not out.exists()


def test_it_is_refused_before_a_model_is_trained_for_it(tmp_path: Path):
    out = tmp_path / "run"
    outcome = call(run, "--out", str(out), "--device-memory", "1MB")
    assert outcome.code == 3
    assert outcome.complaint.startswith("tiny with policy=zo2 needs ")
    assert not out.exists()


@pytest.mark.parametrize("flags", [(), ("--plan", "auto"), ("--backend", "virtual")], ids=str)
def test_what_the_host_has_free_is_asked_before_anything_is_read(
    tmp_path: Path, small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
):
    monkeypatch.setattr(prepared, "load", None)
    monkeypatch.setattr(room, "free_host_bytes", lambda: 1000)
    outcome = call(run, *small, "--out", str(tmp_path / "run"), *flags)
    assert outcome.code == 3
    assert "on the host, mostly for " in outcome.complaint
    assert not (tmp_path / "run").exists()


def test_a_limit_is_not_for_the_run_that_it_is_compared_with(
    tmp_path: Path, small: tuple[str, ...]
):
    """A slot holds one of two blocks, and the limit leaves no room for the other."""
    few = ("--batch", "1", "--sequence", "4")  # activations are small
    limited = (*small, *few, "--device-memory", "63kB")
    assert call(run, *limited, "--policy", "resident", "--out", str(tmp_path / "a")).code == 3
    streamed = (*limited, "--num-slots", "1", "--against", "resident")
    outcome = call(run, *streamed, "--out", str(tmp_path / "b"))
    assert (outcome.code, summary(tmp_path / "b")["differs_in"]) == (0, [])


# Rounding


def test_updates_that_rounding_swallows_are_told(tmp_path: Path, small: tuple[str, ...]):
    narrow = [f"--{name}-dtype=bf16" for name in ("storage", "wire", "compute")]
    outcome = call(run, *small, *narrow, "--lr", "1e-7", "--out", str(tmp_path / "a"))
    found = summary(tmp_path / "a")
    assert found["swallowed"] > 0.5
    assert found["swallowed_note"] == (
        f"rounding swallowed about {found['swallowed']:.0%} of the updates, which were smaller "
        "than half the grid of their weights; try --stochastic-rounding, or an fp32 master "
        "(--storage-dtype fp32)"
    )
    assert found["swallowed_note"] in " ".join(outcome.out.split())
    random = (*small, *narrow, "--lr", "1e-7", "--stochastic-rounding")
    assert call(run, *random, "--out", str(tmp_path / "b")).code == 0
    assert summary(tmp_path / "b")["swallowed"] > 0.1
    assert summary(tmp_path / "b")["swallowed_note"] is None


def test_of_fp32_weights_nothing_is_told(tmp_path: Path, small: tuple[str, ...]):
    outcome = call(run, *small, "--lr", "1e-12", "--out", str(tmp_path))
    found = summary(tmp_path)
    assert (found["swallowed"], found["swallowed_note"]) == (None, None)
    assert "swallowed" not in outcome.out


def test_a_plan_file_gives_plan_and_recipe(tmp_path: Path, model: Path, data: Path):
    file = tmp_path / "plan.toml"
    dtypes = "".join(f'{name}_dtype = "fp32"\n' for name in ("storage", "wire", "compute"))
    file.write_text(f"[recipe]\nbatch = 3\nsequence = 16\n{dtypes}[plan]\nnum_slots = 1\n")
    words = ("--model", str(model), "--data", str(data), "--plan", str(file))
    out = ("--steps", "1", "--no-report", "--out", str(tmp_path / "run"))
    assert call(run, *words, *out).code == 0
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert (settings["plan"]["num_slots"], settings["recipe"]["batch"]) == (1, 3)


# Wrong usage


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--steps", "0"), "--steps must be >= 1; got 0"),
        (("--eps", "0"), "eps must be > 0 and finite; got 0.0"),
        (("--lr", "inf"), "lr and weight_decay must be >= 0 and finite; got inf and 0.0"),
        (("--sequence", "100"), f"--sequence must be at most {POSITIONS}"),
        (("--model", "nobody/nothing"), "nothing is downloaded"),
        (("--data", "nowhere.jsonl"), "there is none at nowhere.jsonl"),
        (("--microbatches", "3"), "as many examples must be held out as there are microbatches, 3"),
        (("--plan", "auto", "--num-slots", "3"), "give --plan auto or the flags of a plan"),
        (("--backend", "cuda"), "--backend cuda needs a device that is there"),
        (("--write-back-every", "2", "--policy", "naive"), "needs the deferred update"),
        (("--device-memory", "much", "--plan", "auto"), "--device-memory must be a size"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path, small: tuple[str, ...], flags: tuple[str, ...], message: str
):
    if "cuda" in flags and torch.cuda.is_available():
        pytest.skip("there is a device")
    outcome = call(run, *small, "--out", str(tmp_path / "run"), *flags)
    assert outcome.code == 2
    assert message in outcome.complaint


def test_nothing_is_left_where_the_settings_are_wrong(tmp_path: Path, small: tuple[str, ...]):
    call(run, *small, "--out", str(tmp_path / "run"), "--eps", "0")
    assert not (tmp_path / "run").exists()


def test_the_order_of_reading_follows_the_seed(model: Path, data: Path):
    task = read_task(data, None, most_held_out=2)
    tokenizer = AutoTokenizer.from_pretrained(model)
    first, again, other = (Batches(task, tokenizer, RECIPE, seed) for seed in (0, 0, 1))
    assert torch.equal(first.step(3)["input_ids"], again.step(3)["input_ids"])
    assert not torch.equal(first.step(3)["input_ids"], other.step(3)["input_ids"])
