"""Finished answers on disk: kept, found again, and never trusted when torn or of other code."""

import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from experiments.answer import trust
from experiments.case import spec
from experiments.folder.import_closure import PACKAGES
from experiments.folder.provenance import code_version, version_in
from experiments.jobs import answers as store
from experiments.jobs.answers import Answers
from tests import ROOT
from zo2sim import cost
from zo2sim.schedule import verify


def filled(path: Path) -> Path:
    with Answers(path) as store:
        store.add("a", {"step_s": 0.1})
        store.add("b", {"step_s": 1 / 3})
    return path


def kept(path: Path) -> dict[str, dict[str, float]]:
    with Answers(path) as store:
        return dict(store)


def test_answers_are_found_again(tmp_path: Path):
    path = filled(tmp_path / "new" / "answers.jsonl")
    assert kept(path) == {"a": {"step_s": 0.1}, "b": {"step_s": 1 / 3}}


def test_answers_are_there_at_once(tmp_path: Path):
    with Answers(tmp_path / "answers.jsonl") as store:
        for number in range(5):
            store.add(str(number), {"step_s": float(number)})
            assert store["0"] == {"step_s": 0.0}
            assert kept(store.path)[str(number)] == {"step_s": float(number)}
        assert (len(store), "4" in store, "5" in store) == (5, True, False)


def test_a_torn_last_line_is_dropped_and_the_next_answer_starts_a_line(tmp_path: Path):
    path = filled(tmp_path / "answers.jsonl")
    path.write_text(path.read_text()[:-9])
    with Answers(path) as store:
        assert list(store) == ["a"]
        store.add("c", {"step_s": 3.0})
    assert kept(path) == {"a": {"step_s": 0.1}, "c": {"step_s": 3.0}}


def test_answers_of_other_code_are_ignored(tmp_path: Path):
    path = filled(tmp_path / "answers.jsonl")
    path.write_text(path.read_text().replace(code_version(), "0" * 16))
    assert kept(path) == {}


def test_the_last_answer_to_a_question_counts(tmp_path: Path):
    path = filled(tmp_path / "answers.jsonl")
    with Answers(path) as store:
        store.add("a", {"step_s": 2.0})
    assert kept(path)["a"] == {"step_s": 2.0}


@pytest.mark.parametrize("line", ["", "5", "null", "{}", "[1, 2]", '{"key": 1}', "not json", "{"])
def test_other_lines_are_ignored(line: str, tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    path.write_text(f"{line}\n")
    assert kept(path) == {}


def test_a_line_says_key_code_and_answer(tmp_path: Path):
    lines = filled(tmp_path / "answers.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"key": "a", "code": code_version(), "answer": {"step_s": 0.1}}


def test_the_code_version_is_16_hexadecimal_digits():
    assert len(code_version()) == 16
    assert int(code_version(), 16) >= 0


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages, which every test leaves as it was."""
    root = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        compiled = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, root / package, ignore=compiled)
    return root


def edited(root: Path, name: str) -> str:
    """The version with a line more in that file."""
    path = root / name
    before = path.read_bytes()
    path.write_bytes(before + b"# edited\n")
    try:
        return version_in(root)
    finally:
        path.write_bytes(before)


def name_of(module: ModuleType) -> str:
    assert module.__file__ is not None
    return Path(module.__file__).relative_to(ROOT).as_posix()


def test_a_copy_elsewhere_is_the_same_code(checkout: Path):
    assert version_in(checkout) == code_version()


@pytest.mark.parametrize(
    "name",
    [
        *map(name_of, (trust, spec, cost)),
        "experiments/__init__.py",
        "zo2sim/models/presets.toml",
        "zo2sim/data/machines/measured.toml",
        "zo2sim/data/kernels/class.json",
    ],
)
def test_what_an_answer_depends_on_is_part_of_the_version(name: str, checkout: Path):
    assert edited(checkout, name) != version_in(checkout)


@pytest.mark.parametrize(
    "name", [*map(name_of, (store, verify)), "experiments/LOG.md", "zo2rt/engine/engine.py"]
)
def test_what_no_answer_depends_on_is_not(name: str, checkout: Path):
    assert edited(checkout, name) == version_in(checkout)


def test_data_that_move_are_other_data(checkout: Path):
    before, machines = version_in(checkout), checkout / "zo2sim" / "machines"
    machines.rename(machines.with_name("machines_2"))
    assert version_in(checkout) != before
    machines.with_name("machines_2").rename(machines)
    assert version_in(checkout) == before


def test_code_counts_in_whatever_package_it_lies(tmp_path: Path):
    files = {
        "experiments/jobs/job.py": "from experiments.told import trust\n",
        "experiments/told/__init__.py": "",
        "experiments/told/trust.py": "def late():\n    import zo2sim.deep\n",
        "zo2sim/deep.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    versions = {version_in(tmp_path), *(edited(tmp_path, name) for name in files)}
    assert len(versions) == 1 + len(files)
