"""A run's folder, its data and its model may move; what they hold must be what it was."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from experiments import run
from experiments.training import tiny_model
from experiments.training.places import found, told
from tests.commands import call
from tests.tiny_causal import save
from zo2rt.data.pretrain import Pretraining
from zo2sim.machines.file import dump, named

SMALL = (
    *("--eval-every", "0", "--lr", "1e-3", "--batch", "2", "--sequence", "16", "--no-report"),
    *("--schedule", "constant", "--steps", "2"),
)


class Tree(NamedTuple):
    """A folder with everything that a run needs, and the run."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data" / "parity.jsonl"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def out(self) -> Path:
        return self.root / "runs" / "a"

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.out / "summary.json").read_text())

    @property
    def settings(self) -> dict[str, Any]:
        return json.loads((self.out / "config.json").read_text())["settings"]


def resume(out: Path, *flags: str) -> str:
    """What a resumed run complains of; nothing where it goes on."""
    outcome = call(run, "--resume", "--no-report", "--out", str(out), *flags)
    return "" if outcome.code == 0 else outcome.complaint


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A run of two steps, which no test changes."""
    tree = Tree(tmp_path_factory.mktemp("begun") / "tree")
    tree.data.parent.mkdir(parents=True)
    rows = [{"text": f"{n}", "label": "even" if n % 2 == 0 else "odd"} for n in range(20)]
    tree.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    save(tree.model)
    (tree.root / "host.toml").write_text(dump(named("this-host")))
    words = ("--model", str(tree.model), "--data", str(tree.data), *SMALL)
    machine = ("--machine", str(tree.root / "host.toml"))
    assert call(run, *words, *machine, "--out", str(tree.out)).code == 0
    return tree


@pytest.fixture(scope="module")
def longer(begun: Tree, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights of an undisturbed run of four steps."""
    out = tmp_path_factory.mktemp("longer") / "run"
    words = ("--model", str(begun.model), "--data", str(begun.data), *SMALL, "--steps", "4")
    assert call(run, *words, "--out", str(out)).code == 0
    return json.loads((out / "summary.json").read_text())["weights_sha256"]


@pytest.fixture
def tree(begun: Tree, tmp_path: Path) -> Tree:
    """A copy of its own, which has moved, and whose first place is left."""
    shutil.copytree(begun.root, tmp_path / "elsewhere")
    return Tree(tmp_path / "elsewhere")


def test_a_tree_that_moved_goes_on_with_what_moved_along(tree: Tree, longer: str):
    assert resume(tree.out, "--steps", "4") == ""
    assert tree.summary["weights_sha256"] == longer
    moved = {"data": tree.data, "model": tree.model, "machine": tree.root / "host.toml"}
    assert {name: tree.settings[name] for name in moved} == {n: str(p) for n, p in moved.items()}


def test_a_folder_that_moved_alone_finds_the_rest_where_it_was(
    begun: Tree, tmp_path: Path, longer: str
):
    shutil.copytree(begun.out, tmp_path / "alone")
    assert resume(tmp_path / "alone", "--steps", "4") == ""
    settings = json.loads((tmp_path / "alone" / "config.json").read_text())["settings"]
    assert settings["data"] == str(begun.data)


def test_files_that_moved_alone_are_said(tree: Tree, longer: str):
    moved = {name: tree.root / "moved" / name for name in ("data.jsonl", "model", "host.toml")}
    (tree.root / "moved").mkdir()
    for path, place in zip(
        (tree.data, tree.model, tree.root / "host.toml"), moved.values(), strict=True
    ):
        path.rename(place)
    old = tree.out / "config.json"  # nor are they where the run was begun
    old.write_text(old.read_text().replace("begun", "gone"))
    assert "a machine must be one of" in resume(tree.out)
    machine = ("--machine", str(moved["host.toml"]))
    assert "--data must name a file of JSON lines; there is none at" in resume(tree.out, *machine)
    data = (*machine, "--data", str(moved["data.jsonl"]))
    assert "--model must be 'tiny', a folder" in resume(tree.out, *data)
    assert resume(tree.out, *data, "--model", str(moved["model"]), "--steps", "4") == ""
    assert tree.summary["weights_sha256"] == longer
    assert resume(tree.out) == ""  # they are remembered


def test_a_file_in_the_run_s_folder_is_told_relative_to_it(tree: Tree):
    inside = tree.out / "data.jsonl"
    tree.data.rename(inside)
    assert resume(tree.out, "--data", str(inside), "--steps", "3") == ""
    assert tree.settings["data"] == "./data.jsonl"
    tree.out.rename(tree.root / "b")
    assert resume(tree.root / "b", "--steps", "4") == ""


def test_other_data_is_refused_whoever_says_it(tree: Tree):
    other = tree.root / "other.jsonl"
    other.write_text(tree.data.read_text().replace("odd", "uneven"))
    before = (tree.out / "config.json").read_text()
    complaint = resume(tree.out, "--data", str(other))
    assert "must hold what it held when the run began" in complaint
    assert f"with {other} it is " in complaint
    assert "say where it lies now with --data" in complaint
    assert (tree.out / "config.json").read_text() == before


def test_another_tokenizer_is_refused(tree: Tree):
    """The same weights and config; and other tokens of the same text."""
    config = tree.model / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"</s>"', '"<a>"'))
    tokens = tree.model / "added_tokens.json"
    assert not tokens.exists()
    settings = json.loads(config.read_text())
    settings["additional_special_tokens"] = ["even"]
    settings["extra_special_tokens"] = ["even"]
    config.write_text(json.dumps(settings))
    assert "the data in tokens of a resumed run must hold" in resume(tree.out)


def test_another_model_is_refused(tree: Tree):
    config = tree.model / "config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps(content | {"activation_function": "gelu"}))
    complaint = resume(tree.out, "--model", str(tree.model))
    assert "the run must be the one that the journal was written by" in complaint


def test_tiny_is_another_model_too(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    short = Pretraining(steps=1, lr=1e-3, warmup_steps=1)
    monkeypatch.setattr(tiny_model, "PRETRAINING", short)
    assert resume(tree.out, "--model", "tiny") != ""


# How many steps


def test_fewer_steps_than_were_done_are_refused_with_both_numbers(tree: Tree):
    before = (tree.out / "config.json").read_text()
    complaint = resume(tree.out, "--steps", "1")
    assert "--steps is the number of steps in all, and must be >= 2, which were done" in complaint
    assert complaint.endswith("got 1")
    assert (tree.out / "config.json").read_text() == before


@pytest.mark.parametrize("steps", ["800", "5"])
def test_so_many_steps_are_made_in_all(tree: Tree, monkeypatch: pytest.MonkeyPatch, steps: str):
    """800 is the number that a run has where nobody says one."""
    asked: list[int] = []
    monkeypatch.setattr(run, "prepare", lambda config, _: asked.append(config.steps) or stop())
    resume(tree.out, "--steps", steps)
    assert asked == [int(steps)]


def stop() -> None:
    raise ValueError("no further")


# By hand


def test_places_as_they_are_told(tmp_path: Path):
    home = tmp_path / "runs" / "a"
    beside = tmp_path / "data.jsonl"
    assert told(home / "x" / "data.jsonl", home) == "./x/data.jsonl"
    assert told(beside, home) == str(beside)
    assert found("./x", home, was="/gone") == str(home / "x")
    assert found("/gone/data.jsonl", home, was="/gone/runs/a") == "/gone/data.jsonl"
    beside.touch()
    assert found("/gone/data.jsonl", home, was="/gone/runs/a") == str(beside)
    assert found("tiny", home, was="/gone/runs/a") == "tiny"
    assert found("/gone/data.jsonl", home, was=None) == "/gone/data.jsonl"
