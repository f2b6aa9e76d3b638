"""``--out``: a run's folder, or a new one; nobody else's files are overwritten."""

from pathlib import Path
from types import ModuleType

import pytest

from experiments import (
    baseline,
    report,
    reproduce,
    run,
    scale,
    sensitivity,
    sweep,
    tune,
    validate,
)
from experiments.cli import claim
from tests.commands import call

COMMANDS = (baseline, reproduce, run, scale, sensitivity, sweep, tune, validate)
FILES = {"config.json": '{"model_type": "opt"}', "steps.jsonl": "mine\n", "model.bin": "weights"}


def foreign(folder: Path) -> Path:
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_a_folder_that_no_run_wrote_is_refused_and_left_as_it_is(
    command: ModuleType, tmp_path: Path
):
    folder = foreign(tmp_path / "model")
    outcome = call(command, "--out", str(folder))
    assert outcome.code == 2
    assert outcome.complaint == (
        f"--out must name a run's folder, or one that is empty or not there; {folder} holds "
        "config.json and no run.json, so no run wrote it, and its files might be overwritten"
    )
    assert contents(folder) == FILES


def test_a_paper_is_not_written_over_a_model(tmp_path: Path):
    folder = foreign(tmp_path / "model")
    outcome = call(report, str(tmp_path / "run"), "--out", str(folder))
    assert outcome.complaint.startswith("--out must name a run's folder")
    assert contents(folder) == FILES


def test_a_model_is_not_trained_into_its_own_folder(tmp_path: Path):
    folder = foreign(tmp_path / "model")
    outcome = call(run, "--model", str(folder), "--out", str(folder))
    assert outcome.complaint.startswith("--out must name a run's folder")
    assert contents(folder) == FILES


def test_a_run_s_folder_and_what_a_kill_left_are_written_again(tmp_path: Path):
    pytest.importorskip("typst")
    out = tmp_path / "out"
    (out / ".xyz.partial").mkdir(parents=True)  # killed before anything of it had a name
    (out / ".lock").touch()
    words = ("--model", "opt-125m", "--workers", "1", "--json", "-", "--out")
    assert call(scale, *words, str(out)).code == 0
    assert call(scale, *words, str(out)).code == 0
    claim(begun := tmp_path / "begun", "sweep")
    (begun / "answers.jsonl").write_text("")
    assert call(scale, *words, str(begun)).code == 0
