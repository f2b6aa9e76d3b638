"""A run whose losses are no numbers says so: everything is written, and the exit code is 1."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import run
from tests.commands import call
from tests.tiny_causal import save


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("task")
    data = folder / "parity.jsonl"
    rows = [{"text": f"{n}", "label": "even" if n % 2 == 0 else "odd"} for n in range(20)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return (
        *("--model", str(save(folder / "tiny")), "--data", str(data), "--steps", "6"),
        *("--eval-every", "3", "--batch", "2", "--sequence", "16", "--no-report"),
    )


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def test_a_run_that_diverges_says_where_and_what_to_try(tmp_path: Path, small: tuple[str, ...]):
    words = (*small, "--lr", "1e30", "--out", str(tmp_path), "--json", str(tmp_path / "s.json"))
    outcome = call(run, *[w for w in words if w != "--no-report"])
    assert outcome.code == 1
    found = summary(tmp_path)
    first = found["steps"] - found["skipped_steps"]
    assert outcome.err == (
        f"error: diverged at step {first}: from there on a loss was NaN or infinite, and no weight "
        "changed; try a smaller --lr, a smaller --eps, or --clip\n"
    )
    assert f"skipped            {found['skipped_steps']} steps" in outcome.out
    assert found["trouble"] in outcome.err
    assert found["held_out_loss_after"] is None
    assert json.loads((tmp_path / "s.json").read_text())["trouble"] == found["trouble"]
    lines = (tmp_path / "steps.jsonl").read_text().splitlines()
    assert all("NaN" not in line for line in lines)
    assert (tmp_path / "report.pdf").stat().st_size > 0
    assert "diverged at step" in (tmp_path / "report.html").read_text().lower()


def test_an_evaluation_of_nothing_has_a_reason(tmp_path: Path, small: tuple[str, ...]):
    """Of a single token nothing is predicted."""
    judged = tmp_path / "judged.jsonl"
    judged.write_text('{"text": "1"}\n{"text": "2"}\n')
    outcome = call(run, *small, "--eval-data", str(judged), "--out", str(tmp_path / "run"))
    assert outcome.code == 1
    found = summary(tmp_path / "run")
    assert (found["held_out_loss_before"], found["held_out_loss_after"]) == (None, None)
    assert found["trouble"].startswith("the held-out loss is not known: 2 of 2 held-out rows have")
    assert found["trouble"] in outcome.err


def test_where_there_is_nothing_to_learn_nothing_is_begun(tmp_path: Path, small: tuple[str, ...]):
    """As where a tokenizer lacks its files, and makes no tokens."""
    data = tmp_path / "letters.jsonl"
    data.write_text('{"text": "a"}\n{"text": "b"}\n')
    outcome = call(run, *small, "--data", str(data), "--out", str(tmp_path / "run"))
    assert outcome.code == 2
    assert "makes 1 tokens of 1 examples, none of them such" in outcome.complaint
    assert not (tmp_path / "run").exists()
