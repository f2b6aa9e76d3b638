"""`run` on several ranks: the folder of one process, written and told by rank 0 alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import run
from tests.commands import call
from tests.experiments.training.run_ranks import free_port, runs
from tests.tiny_causal import save
from tests.zo2rt.exchange.company import Company, company
from tests.zo2rt.exchange.rank_jobs import digests

SMALL = (
    *("--steps", "6", "--eval-every", "3", "--save-every", "2", "--lr", "1e-3", "--batch", "2"),
    *("--sequence", "16", "--threads", "1", "--eval-examples", "4", "--no-report"),
    *("--samples", "2", "--schedule", "constant"),
)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("case")
    rows = [{"text": f"{n}", "label": "even" if n % 2 == 0 else "odd"} for n in range(20)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model, data = str(save(folder / "tiny")), str(folder / "data.jsonl")
    return ("--model", model, "--data", data, *SMALL)


@pytest.fixture(scope="module")
def ranks() -> Iterator[Company]:
    with company(2) as two:
        yield two


def evaluations(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "evaluation"]


def test_ranks_begin_and_go_on_with_a_run_of_one_process(
    tmp_path: Path, words: tuple[str, ...], ranks: Company
):
    one, all_ = tmp_path / "one", tmp_path / "all"
    assert call(run, *words, "--steps", "9", "--out", str(one)).code == 0
    first, second = ranks.does(runs, free_port(), (*words, "--out", str(all_)))
    assert (first[0], second) == (0, (0, "", ""))
    assert "written to" in first[1]
    assert "on 2 ranks" in first[1]
    assert call(run, "--resume", "--steps", "7", "--no-report", "--out", str(all_)).code == 0
    resumed = ranks.does(runs, free_port(), ("--resume", "--steps", "9", "--out", str(all_)))
    assert [code for code, *_ in resumed] == [0, 0]
    shared = {e["step"]: e for e in evaluations(all_)}
    assert [shared[e["step"]] for e in evaluations(one)] == evaluations(one)
    summaries = [json.loads((out / "summary.json").read_text()) for out in (one, all_)]
    assert summaries[0]["weights_sha256"] == summaries[1]["weights_sha256"]
    assert digests(all_ / "model") == digests(one / "model")


def test_what_rank_0_refuses_ends_the_others_without_a_word(
    tmp_path: Path, words: tuple[str, ...], ranks: Company
):
    found = ranks.does(runs, free_port(), (*words, "--data", "none.jsonl", "--out", str(tmp_path)))
    assert found[0][0] == 2
    assert "none.jsonl" in found[0][2]
    assert found[1] == (1, "", "")
