"""What a run measured: kept line by line, and read back up to where the weights stand."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.training.history import Evaluation, History
from experiments.training.settings import Course
from zo2rt.journal import Draw, Rate, Record
from zo2rt.steps.outcome import Outcome

STEP = Outcome(
    step=0, loss=1.5, g=-0.25, lr=0.1, skipped=False, tokens=8, wall_s=0.5, exposed_s=0.1
)
JUDGED = Evaluation(step=0, held_out_loss=2.0, accuracy=None)


def written(path: Path, steps: int) -> History:
    history = History(path)
    history.add(JUDGED)
    for step in range(steps):
        history.add(replace(STEP, step=step))
    history.add(replace(JUDGED, step=steps, accuracy=0.5))
    return history


def resumed(path: Path, num_steps: int) -> History:
    """Where no line is missing."""
    return History.resumed(path, num_steps, lambda _: pytest.fail("nothing is missing"), tokens=8)


def test_lines_are_read_back_as_they_were(tmp_path: Path):
    history = written(tmp_path / "steps.jsonl", 3)
    again = resumed(tmp_path / "steps.jsonl", 3)
    assert again.steps == history.steps
    assert again.evaluations == history.evaluations
    assert again.evaluated(3)
    assert not again.evaluated(1)


def test_lines_past_the_weights_go(tmp_path: Path):
    written(tmp_path / "steps.jsonl", 3)
    again = resumed(tmp_path / "steps.jsonl", 2)
    assert [line.step for line in again.steps] == [0, 1]
    assert [e.step for e in again.evaluations] == [0]


def test_a_torn_line_goes_and_the_file_is_whole_again(tmp_path: Path):
    path = tmp_path / "steps.jsonl"
    written(path, 2)
    path.write_text(path.read_text()[:-20])
    resumed(path, 2).add(replace(STEP, step=2))
    again = resumed(path, 3)
    assert [line.step for line in again.steps] == [0, 1, 2]
    assert [e.step for e in again.evaluations] == [0]


RECORD = Record(
    step=1,
    losses=(1.25, 1.0),
    draws=(Draw(key=1, g=0.1),),
    rates=(Rate(group="matrices", lr=0.1, weight_decay=0.0),),
    eps=0.5,
    skipped=False,
    cursor=2,
)


def test_a_line_that_is_missing_is_the_journals_record(tmp_path: Path):
    """Its g is that before clipping, as in every line; what the step took is not known."""
    path = tmp_path / "steps.jsonl"
    written(path, 1)
    derived = replace(STEP, step=1, loss=1.125, g=0.25, wall_s=None, exposed_s=None)
    again = [
        History.resumed(path, 2, lambda step: [RECORD][step - 1 :], tokens=8) for _ in range(2)
    ]
    assert [found.steps for found in again] == [[STEP, derived]] * 2  # it stays
    assert [e.step for e in again[-1].evaluations] == [0, 1]


def test_lines_that_came_twice_or_out_of_order_are_put_right(tmp_path: Path):
    path = tmp_path / "steps.jsonl"
    history = written(path, 3)
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join((*reversed(others), first, *others)))
    assert resumed(path, 3).steps == history.steps
    assert resumed(path, 3).evaluations == history.evaluations


def test_a_kill_while_it_is_read_back_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "steps.jsonl"
    written(path, 2)
    before = path.read_text()
    monkeypatch.setattr(Path, "replace", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception, match="killed"):
        resumed(path, 2)
    assert path.read_text() == before


def test_a_skipped_step_has_no_numbers(tmp_path: Path):
    history = History(tmp_path / "steps.jsonl")
    history.add(replace(STEP, loss=None, g=None, skipped=True))
    (row,) = resumed(tmp_path / "steps.jsonl", 1).step_table().to_dict("records")
    assert row["loss"] != row["loss"] or row["loss"] is None
    assert row["skipped"]


def course(**changes: object) -> Course:
    settings = {"steps": 10, "lr": 1.0, "schedule": "linear", "eval_every": 4, "save_every": 3}
    return Course(**settings | changes)  # type: ignore[arg-type]


def test_a_course_judges_and_saves_at_its_intervals_and_at_the_end():
    steps = range(11)
    assert [s for s in steps if course().is_judged(s)] == [0, 4, 8, 10]
    assert [s for s in steps if course().is_saved(s)] == [3, 6, 9, 10]
    assert [s for s in steps if course(eval_every=0).is_judged(s)] == [0, 10]
    assert [s for s in steps if course(save_every=0).is_saved(s)] == [10]
    assert [s for s in steps if course(snapshots=False).is_saved(s)] == []


def test_the_linear_schedule_would_end_at_zero():
    assert [course().lr_at(step) for step in (0, 5, 10)] == [1.0, 0.5, 0.0]
    assert course(schedule="constant").lr_at(9) == 1.0


@pytest.mark.parametrize("changes", [{"steps": 0}, {"eval_every": -1}, {"save_every": -1}])
def test_a_course_refuses_counts_that_are_none(changes: dict[str, int]):
    with pytest.raises(ValueError, match=r"--(steps|eval-every|save-every) must be >= "):
        course(**changes)


def test_a_line_whose_step_is_no_number_is_passed_over(tmp_path: Path):
    path = tmp_path / "steps.jsonl"
    path.write_text('{"kind": "evaluation", "step": [], "held_out_loss": 1, "accuracy": null}\n')
    assert History.resumed(path, 4, lambda _: (), tokens=8).evaluations == []
