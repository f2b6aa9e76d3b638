"""Training data from JSON lines: what is read, and what is refused, with line and key."""

import json
from pathlib import Path

import pytest

from experiments.training.batches import Task
from experiments.training.jsonl import read_task


def read(tmp_path: Path, *rows: object) -> Task:
    path = tmp_path / "data.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return read_task(path, None, most_held_out=256)


def test_plain_text_has_no_prompt_and_nothing_to_choose(tmp_path: Path):
    task = read(tmp_path, {"text": "one"}, {"text": "two", "id": 7})
    examples = (*task.training, *task.held_out)
    assert {(e.prompt, e.completion, e.ends) for e in examples} == {
        ("", "one", False),
        ("", "two", False),
    }
    assert task.candidates == ()


def test_labels_are_completions_to_choose_from(tmp_path: Path):
    task = read(tmp_path, *({"text": f"t{n}", "label": n % 2} for n in range(10)))
    assert task.candidates == (" 0", " 1")
    assert all(e.prompt.endswith("\nlabel:") for e in task.training)


def test_completions_end_the_text(tmp_path: Path):
    task = read(tmp_path, *({"prompt": f"{n}?", "completion": f"{n}!"} for n in range(40)))
    assert all(e.ends for e in task.training)
    assert task.candidates == ()  # too many different ones


def test_a_tenth_is_held_out_and_nothing_is_in_both(tmp_path: Path):
    rows = [{"text": f"t{n}"} for n in range(100)]
    task = read(tmp_path, *rows)
    assert (len(task.training), len(task.held_out)) == (90, 10)
    texts = {e.completion for e in (*task.training, *task.held_out)}
    assert texts == {row["text"] for row in rows}


def test_a_second_file_is_what_the_model_is_judged_by(tmp_path: Path):
    for name, text in (("a", "one"), ("b", "two")):
        (tmp_path / name).write_text(json.dumps({"text": text}))
    task = read_task(tmp_path / "a", tmp_path / "b", most_held_out=256)
    assert [e.completion for e in task.training] == ["one"]
    assert [e.completion for e in task.held_out] == ["two"]


def test_empty_lines_are_skipped_and_counted(tmp_path: Path):
    with pytest.raises(ValueError, match=r"data.jsonl:3: 'text' must be text; got null"):
        read(tmp_path, {"text": "one"}, "", {"text": None})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r":2: must be JSON; "),
        ("[1]", r":2: must be a JSON object; got \[1\]"),
        ({"label": "x"}, r":2: key 'text' is missing, and the first line has it"),
        ({"text": "x"}, r":2: key 'label' is missing, and the first line has it"),
        ({"text": "", "label": "x"}, r":2: 'text' must be text; got \"\""),
        ({"text": "x", "label": 0.5}, r":2: 'label' must be text, or a whole number; got 0.5"),
        ({"text": "x\ud800", "label": "x"}, r":2: 'text' must be text; half of a surrogate pair"),
        ({"text": "x", "label": ["y" * 99]}, r"got \[\"y{38}\.\.\."),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: object, message: str):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, {"text": "x", "label": "y"}, row)


def test_a_first_line_without_known_keys_says_which_there_are(tmp_path: Path):
    with pytest.raises(ValueError, match=r":1: keys must be text, or .*; got input, output"):
        read(tmp_path, {"input": "x", "output": "y"})


def test_a_file_needs_an_example_to_judge_by(tmp_path: Path):
    with pytest.raises(ValueError, match="needs at least 2 examples, one of them to be held out"):
        read(tmp_path, {"text": "x"})
    with pytest.raises(ValueError, match="it is empty"):
        read(tmp_path, "")


def test_a_line_ends_at_a_newline_and_nowhere_else(tmp_path: Path):
    """U+2028, U+0085 and their kind are text, which JSON need not escape."""
    odd = "a\u2028b\u2029c\u0085d"
    task = read(tmp_path, f'{{"text": "{odd}"}}', '{"text": "two"}')
    assert {e.completion for e in (*task.training, *task.held_out)} == {odd, "two"}


def test_a_mark_before_the_text_is_none_of_it(tmp_path: Path):
    plain = read(tmp_path, {"text": "one"}, {"text": "two"})
    path = tmp_path / "data.jsonl"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert read_task(path, None, most_held_out=256) == plain


def test_the_flag_of_the_file_that_is_missing_is_named(tmp_path: Path):
    read(tmp_path, {"text": "one"}, {"text": "two"})
    with pytest.raises(ValueError, match="--eval-data must name a file"):
        read_task(tmp_path / "data.jsonl", tmp_path / "none", most_held_out=256)
