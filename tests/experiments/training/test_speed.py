"""What a run says of its speed: one step's, whatever the others took."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import run
from experiments.training.output import speed
from tests.commands import call
from tests.experiments.training.test_run_processes import words  # noqa: F401, a fixture
from zo2rt.steps.outcome import Outcome


def step(wall_s: float | None) -> Outcome:
    common: dict[str, Any] = {"step": 0, "loss": 1.0, "g": 0.0, "lr": 0.1, "skipped": False}
    return Outcome(**common, tokens=1024, wall_s=wall_s, exposed_s=0.0)


def test_rate_and_time_are_of_one_step():
    """Two steps compile, two do not; the median lies between: 1024 tokens in 8 s."""
    found = speed([step(32.0), step(15.75), step(0.25), step(0.25)])
    assert found == {"tokens_per_s": 128.0, "step_s": 8.0, "first_step_s": 32.0}


def test_steps_that_the_journal_alone_knows_are_left_out():
    assert speed([step(None), step(2.0)])["first_step_s"] == 2.0
    assert set(speed([step(None)]).values()) == {None}


@pytest.mark.parametrize(("first_s", "told"), [(1.9, ""), (2.5, "2.50 s, with all that is made")])
def test_a_long_first_step_is_told(
    tmp_path: Path,
    words: tuple[str, ...],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    first_s: float,
    told: str,
):
    made = run.output

    def output(*arguments: Any) -> Any:
        written = made(*arguments)
        summary = {**written.summary, "step_s": 1.0, "first_step_s": first_s}
        return replace(written, summary=summary)

    monkeypatch.setattr(run, "output", output)
    lines = call(run, *words, "--steps", "1", "--out", str(tmp_path)).out.splitlines()
    assert any(line.startswith("step ") and "1.00 s in the median" in line for line in lines)
    assert any("first step" in line for line in lines) == bool(told)
    assert told in "".join(lines)
