"""Finished answers on disk: kept, found again, and never trusted when torn or of other code."""

import json
from pathlib import Path

import pytest

from experiments.store import Store, code_version


def filled(path: Path) -> Path:
    with Store(path) as store:
        store.add("a", {"step_s": 0.1})
        store.add("b", {"step_s": 1 / 3})
    return path


def kept(path: Path) -> dict[str, dict[str, float]]:
    with Store(path) as store:
        return dict(store)


def test_answers_are_found_again(tmp_path: Path):
    path = filled(tmp_path / "new" / "answers.jsonl")
    assert kept(path) == {"a": {"step_s": 0.1}, "b": {"step_s": 1 / 3}}


def test_answers_are_there_at_once(tmp_path: Path):
    with Store(tmp_path / "answers.jsonl") as store:
        for number in range(5):
            store.add(str(number), {"step_s": float(number)})
            assert store["0"] == {"step_s": 0.0}
            assert kept(store.path)[str(number)] == {"step_s": float(number)}
        assert (len(store), "4" in store, "5" in store) == (5, True, False)


def test_a_torn_last_line_is_dropped_and_the_next_answer_starts_a_line(tmp_path: Path):
    path = filled(tmp_path / "answers.jsonl")
    path.write_text(path.read_text()[:-9])
    with Store(path) as store:
        assert list(store) == ["a"]
        store.add("c", {"step_s": 3.0})
    assert kept(path) == {"a": {"step_s": 0.1}, "c": {"step_s": 3.0}}


def test_answers_of_other_code_are_ignored(tmp_path: Path):
    path = filled(tmp_path / "answers.jsonl")
    path.write_text(path.read_text().replace(code_version(), "0" * 16))
    assert kept(path) == {}


def test_the_last_answer_to_a_question_counts(tmp_path: Path):
    path = filled(tmp_path / "answers.jsonl")
    with Store(path) as store:
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
