"""Finished answers on disk: kept, found again, and never trusted when torn or of other code."""

import json
from pathlib import Path

import pytest

from experiments.store import Store, code_version


def filled(path: Path) -> Store:
    store = Store.open(path)
    store.add("a", {"step_s": 0.1})
    store.add("b", {"step_s": 1 / 3})
    return store


def test_answers_are_found_again(tmp_path: Path):
    store = filled(tmp_path / "new" / "answers.jsonl")
    assert Store.open(store.path).answers == {"a": {"step_s": 0.1}, "b": {"step_s": 1 / 3}}


def test_a_torn_last_line_is_dropped_and_the_next_answer_starts_a_line(tmp_path: Path):
    path = filled(tmp_path / "answers.jsonl").path
    path.write_text(path.read_text()[:-9])
    store = Store.open(path)
    assert list(store.answers) == ["a"]
    store.add("c", {"step_s": 3.0})
    assert list(Store.open(path).answers) == ["a", "c"]


def test_answers_of_other_code_are_ignored(tmp_path: Path):
    path = filled(tmp_path / "answers.jsonl").path
    path.write_text(path.read_text().replace(code_version(), "0" * 16))
    assert Store.open(path).answers == {}


def test_the_last_answer_to_a_question_counts(tmp_path: Path):
    store = filled(tmp_path / "answers.jsonl")
    store.add("a", {"step_s": 2.0})
    assert Store.open(store.path).answers["a"] == {"step_s": 2.0}


@pytest.mark.parametrize("line", ["", "5", "null", "[]", "{}", '{"key": 1}', "not json", "{"])
def test_other_lines_are_ignored(line: str, tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    path.write_text(f"{line}\n")
    assert Store.open(path).answers == {}


def test_a_line_says_key_code_and_answer(tmp_path: Path):
    lines = filled(tmp_path / "answers.jsonl").path.read_text().splitlines()
    assert json.loads(lines[0]) == {"key": "a", "code": code_version(), "answer": {"step_s": 0.1}}


def test_the_code_version_is_16_hexadecimal_digits():
    assert len(code_version()) == 16
    assert int(code_version(), 16) >= 0
