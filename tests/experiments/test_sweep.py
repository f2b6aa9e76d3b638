"""`sweep`: the same bytes every time, resumed without asking twice, one line for what is wrong."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

import experiments.jobs.pool
from experiments import sweep
from experiments.answer.metrics import UNITS
from experiments.case import spec
from experiments.jobs.job import Job
from experiments.jobs.job import answer as ask
from experiments.jobs.presets import PRESETS
from tests.commands import Outcome, call
from zo2sim.machines.file import dump, named

GRID = ("--axis", "model=opt-125m,opt-1.3b", "--axis", "num-slots=1,2")
FILES = ("config.json", "records.csv", "records.parquet", "summary.json")


def grid(out: Path, *arguments: str) -> Outcome:
    """The four cases of `GRID`, in this process unless ``--jobs`` says otherwise."""
    jobs = () if "--jobs" in arguments else ("--jobs", "1")
    words = ("--preset", "none", "--no-report", "--out", str(out), *jobs)
    return call(sweep, *words, *(arguments or GRID))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels of the jobs that are computed, as they are."""
    labels: list[str] = []

    def counted(job: Job) -> dict[str, object]:
        labels.append(job.label)
        return ask(job)

    monkeypatch.setattr(experiments.jobs.pool, "answer", counted)
    return labels


# What it writes


def test_records_are_long_and_every_number_has_a_unit(tmp_path: Path):
    assert grid(tmp_path).code == 0
    table = pd.read_parquet(tmp_path / "records.parquet")
    columns = ["run_id", "config_hash", "metric", "value", "unit", "low", "high", "provenance"]
    assert set(columns) <= set(table.columns)
    numbers = table.dropna(subset=["value"])
    assert set(numbers["metric"]) <= set(UNITS)
    assert "" not in set(numbers["unit"])
    assert len(set(table["config_hash"])) == 4
    assert set(table["provenance"]) == {"predicted"}


def test_the_summary_counts_and_is_the_json(tmp_path: Path):
    outcome = grid(tmp_path, *GRID, "--json", "-")
    assert outcome.json == json.loads((tmp_path / "summary.json").read_text())
    assert (outcome.json["schema"], outcome.json["num_jobs"]) == (1, 4)
    assert (outcome.json["num_models"], outcome.json["num_fitting"]) == (2, 4)


def test_the_config_is_resolved(tmp_path: Path):
    grid(tmp_path, "--axis", "policy=zo2_reference")
    config = json.loads((tmp_path / "config.json").read_text())
    (base,) = config["base"]
    assert (base["policy"], base["batch"]) == ("zo2", 1)
    assert config["axes"] == {"policy": ["zo2_reference"]}
    table = pd.read_parquet(tmp_path / "records.parquet")
    assert {*zip(table["policy"], table["pinning"], strict=True)} == {("zo2_reference", "rounded")}


def test_a_report_is_reproduced_to_the_byte(tmp_path: Path):
    """With the trace and every figure; the command line is the same in both."""
    pytest.importorskip("typst")
    for run in ("a", "b"):
        words = ("--preset", "none", "--model", "opt-125m", "--out", str(tmp_path / run))
        assert call(sweep, *words, "--jobs", "1").code == 0
    first = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in (tmp_path / "a").rglob("*.*")}
    assert {p.name for p in first} >= {*FILES, "trace.json.gz", "report.html", "report.pdf"}
    assert any(p.suffix == ".svg" for p in first)
    again = {p: (tmp_path / "b" / p).read_bytes() for p in first}
    assert [p for p in first if first[p] != again[p]] == []
    assert json.loads(gzip.decompress(first[Path("trace.json.gz")]))["traceEvents"]
    assert first[Path("report.pdf")].startswith(b"%PDF")


# The same bytes every time


def test_two_folders_hold_the_same_bytes(tmp_path: Path):
    for run in ("a", "b"):
        grid(tmp_path / run)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_worker_processes_change_nothing(tmp_path: Path):
    grid(tmp_path / "a")
    assert grid(tmp_path / "b", *GRID, "--jobs", "2").code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


# Going on where it stopped


def test_a_finished_sweep_asks_nothing(tmp_path: Path, asked: list[str]):
    grid(tmp_path)
    before = contents(tmp_path)
    asked.clear()
    grid(tmp_path)
    assert asked == []
    assert contents(tmp_path) == before


def test_a_killed_sweep_asks_only_what_is_missing(tmp_path: Path, asked: list[str]):
    """The process died while it wrote the third of four answers."""
    grid(tmp_path / "whole")
    lines = (tmp_path / "whole" / "answers.jsonl").read_text().splitlines()
    (tmp_path / "killed").mkdir()
    torn = "\n".join([*lines[:2], lines[2][:40]])
    (tmp_path / "killed" / "answers.jsonl").write_text(torn)
    asked.clear()
    grid(tmp_path / "killed")
    assert asked == [
        "zo2, model=opt-1.3b, num_slots=1",
        "zo2, model=opt-1.3b, num_slots=2",
    ]
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_answers_of_other_code_are_asked_again(tmp_path: Path, asked: list[str]):
    grid(tmp_path)
    answers = tmp_path / "answers.jsonl"
    entries = [json.loads(line) for line in answers.read_text().splitlines()]
    stale = [json.dumps(e | {"code": "0" * 16, "answer": {"step_s": 1.0}}) for e in entries]
    answers.write_text("\n".join(stale) + "\n")
    before = contents(tmp_path)
    asked.clear()
    grid(tmp_path)
    assert len(asked) == 4
    assert contents(tmp_path) == before


def test_equal_questions_are_asked_once(tmp_path: Path, asked: list[str]):
    grid(tmp_path, "--model", "opt-125m", "--axis", "batch=1,1")
    assert len(asked) == 1


def test_an_edited_machine_file_is_another_question(tmp_path: Path, asked: list[str]):
    file = tmp_path / "m.toml"
    for rate in ("2.55e+10", "2.48e+10"):
        text = dump(named("a100-pcie-80gb")).replace("value = 25500000000.0", f"value = {rate}")
        file.write_text(text)
        spec._machine.cache_clear()
        spec._digest.cache_clear()
        grid(tmp_path / "run", "--model", "opt-125m", "--machine", str(file))
    assert len(asked) == 2


# The screen


def test_a_sweep_ends_with_what_it_found_and_where_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    words = ("--preset", "none", "--jobs", "1", "--out", str(tmp_path), *GRID)
    out = call(sweep, *words).out
    text = " ".join(out.split())
    assert text.startswith("Zeroth-order fine-tuning can stream a model through a device")
    assert "in 4 configurations on a100-pcie-80gb" in text
    assert "4 predictions, 4 fit; the fastest has " in text
    for name in ("report.html", "report.pdf", "records.csv"):
        assert f"  {tmp_path / name}\n" in out


def test_without_a_report_the_records_are_named(tmp_path: Path):
    out = grid(tmp_path).out
    assert out.startswith("4 predictions, 4 fit; the fastest has ")
    assert f"  {tmp_path / 'records.csv'}\n" in out
    assert "report" not in out.replace(str(tmp_path), "")


def test_who_interrupts_is_told_that_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
):
    def stopped(job: Job) -> dict[str, object]:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(job.label)
        return ask(job)

    with monkeypatch.context() as patch:
        patch.setattr(experiments.jobs.pool, "answer", stopped)
        outcome = grid(tmp_path)
    assert (outcome.code, outcome.complaint) == (
        1,
        "interrupted; 2 answers are kept, and the same command goes on from there",
    )
    assert grid(tmp_path).code == 0
    assert len(asked) == 4


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--preset", "memory", "--batch", "3"), "--preset memory brings its own"),
        (("--preset", "paper", "--model", "opt-1.3b"), "use --preset none, or --axis"),
        (("--preset", "memory", "--device-memory", "1GB"), "--preset memory brings its own"),
        (("--preset", "nope"), "Expected one of"),
        (("--jobs", "0"), "--jobs must be >= 1; got 0"),
        (("--axis", "num-slots=0"), "num_slots must be a whole number >= 1; got 0"),
        (("--axis", "batch=1", "--axis", "batch=2"), "given once"),
        (("--axis", "model=nope"), "model must be a preset"),
        (("--axis", "machine=nope"), "a machine must be one of"),
        (("--axis", "link.nope=1"), "a key must name a number of a machine; got 'link.nope'"),
        (("--axis", "link.latency_us=nan"), "link.latency_us must be positive and finite; got nan"),
        (("--axis", "link.latency_us=1e400"), "must be positive and finite; got inf"),
        (("--axis", "link.latency_s=10"), "is the unit us? use latency_us"),
        (("--policy", "naive", "--axis", "write-back-every=2"), "no combination that is allowed"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path):
    preset = () if "--preset" in arguments else ("--preset", "none")
    out = ("--out", str(tmp_path / "run"), "--no-report")
    outcome = call(sweep, *preset, *out, "--jobs", "1", *arguments)
    assert outcome.code == 2
    assert message in outcome.complaint


def test_a_folder_that_cannot_be_made_is_a_failure(tmp_path: Path):
    (tmp_path / "file").write_text("")
    outcome = grid(tmp_path / "file", "--model", "opt-125m")
    assert (outcome.code, str(tmp_path) in outcome.complaint) == (1, True)


@pytest.mark.parametrize("name", sorted({*PRESETS} - {"paper"}))
def test_a_preset_names_models_and_machines_that_exist(name: str):
    jobs = [*PRESETS[name]()]
    assert jobs
    assert all(job.spec.case().model.elements >= job.spec.model_elements for job in jobs)


def test_the_default_asks_everything_but_the_long_one_and_several_cards():
    others = ("paper", "opt175b-18gb", "one-to-eight")
    parts = [name for name in PRESETS if name not in others]
    assert [*PRESETS["paper"]()] == [job for name in parts for job in PRESETS[name]()]
