"""How sure an accuracy is, and whether training did harm: told on the screen and in the report."""

import json
import math
from pathlib import Path

import pytest

from experiments import run
from experiments.training.history import Evaluation
from experiments.training.verdict import Verdict
from tests.commands import call
from tests.tiny_causal import save


def verdict(
    losses: tuple[float | None, float | None],
    accuracies: tuple[float | None, float | None] = (None, None),
    num_examples: int = 100,
) -> Verdict:
    before, after = (
        Evaluation(step=step, held_out_loss=loss, accuracy=accuracy)
        for step, loss, accuracy in zip((0, 9), losses, accuracies, strict=True)
    )
    return Verdict(before=before, after=after, num_examples=num_examples)


def test_the_standard_error_is_that_of_a_share():
    found = verdict((1.0, 1.0), (0.5, 0.9))
    assert found.standard_error(found.before) == pytest.approx(0.05)
    assert found.standard_error(found.after) == pytest.approx(math.sqrt(0.9 * 0.1 / 100))
    assert found.standard_error(None) is None
    plain = verdict((1.0, 1.0))
    assert plain.standard_error(plain.before) is None


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (verdict((2.0, 1.9)), None),
        (verdict((2.0, 2.0004)), None),  # as it is shown, it is the same
        (verdict((2.0, 2.5)), "the held-out loss rose from 2.000 to 2.500"),
        (verdict((2.0, None)), None),
        (verdict((2.0, 2.5), (0.5, 0.6)), None),  # more answers are right
        (verdict((2.0, 2.5), (0.5, 0.5)), "the held-out loss rose from 2.000 to 2.500"),
        (verdict((2.0, 1.9), (0.6, 0.5)), None),  # no more than chance
        (verdict((2.0, 1.9), (0.6, 0.4)), "held-out accuracy fell by 20.0%, of 100 examples"),
        (
            verdict((2.0, 1.9), (0.6, 0.5), 1000),
            "held-out accuracy fell by 10.0%, of 1000 examples",
        ),
    ],
)
def test_what_became_worse(found: Verdict, why: str | None):
    told = (
        None
        if why is None
        else f"training made the model worse: {why}; try a smaller --lr than 0.01"
    )
    assert found.harm(0.01) == told


def test_of_one_evaluation_nothing_is_said():
    assert Verdict(before=None, after=None, num_examples=3).harm(1.0) is None


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("case")
    rows = [{"text": f"{n}", "label": "even" if n % 2 == 0 else "odd"} for n in range(50)]
    data = folder / "parity.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return (
        *("--model", str(save(folder / "tiny")), "--data", str(data), "--steps", "2"),
        *("--eval-every", "0", "--batch", "2", "--sequence", "16"),
    )


def test_a_run_says_how_sure_it_is_and_that_it_did_harm(tmp_path: Path, words: tuple[str, ...]):
    outcome = call(run, *words, "--lr", "1.0", "--out", str(tmp_path))
    found = json.loads((tmp_path / "summary.json").read_text())
    p, error = found["accuracy_before"], found["accuracy_before_standard_error"]
    assert error == pytest.approx(math.sqrt(p * (1 - p) / 5))  # a tenth is held out
    assert f"held-out accuracy  {p:.1%} ± {error:.1%} -> " in outcome.out
    assert found["worse"].startswith("training made the model worse: ")
    assert "try a smaller --lr than 1" in found["worse"]
    assert found["worse"] in " ".join(outcome.out.split())
    report = (tmp_path / "report.json").read_text()
    assert "(standard error " in report
    assert "training made the model worse" in report.lower().replace("\\u00a0", " ")


def test_a_run_that_does_no_harm_says_nothing_of_it(tmp_path: Path, words: tuple[str, ...]):
    outcome = call(run, *words, "--lr", "0", "--no-report", "--out", str(tmp_path))
    assert json.loads((tmp_path / "summary.json").read_text())["worse"] is None
    assert "worse" not in outcome.out


@pytest.mark.parametrize("threads", [(), ("--threads", "2")], ids=["own", "typed"])
def test_a_machine_that_nobody_knows_is_refused_whatever_the_threads(
    tmp_path: Path, words: tuple[str, ...], threads: tuple[str, ...]
):
    outcome = call(run, *words, "--machine", "nowhere", *threads, "--out", str(tmp_path / "run"))
    assert outcome.code == 2
    assert "got 'nowhere'" in outcome.complaint
    assert not (tmp_path / "run").exists()
