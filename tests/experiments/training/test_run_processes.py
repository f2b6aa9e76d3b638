"""Several processes, kills and moves: what a run's folder goes through."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments import run
from experiments.training import history
from tests.commands import call
from tests.experiments.training.kills.killed_runs import (
    Death,
    die,
    exit_code,
    started,
    summary_in,
)
from tests.tiny_causal import save
from zo2rt.journal import read
from zo2rt.journal.durable import Disk

SMALL = (
    *("--steps", "40", "--eval-every", "0", "--lr", "1e-3", "--schedule", "constant"),
    *("--batch", "2", "--sequence", "16", "--threads", "1", "--no-report"),
)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("case")
    rows = [{"text": f"{n}", "label": "even" if n % 2 == 0 else "odd"} for n in range(20)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = str(folder / "data.jsonl")
    return ("--model", str(save(folder / "tiny")), "--data", data, *SMALL)


def lines(out: Path) -> list[dict[str, object]]:
    path = out / "steps.jsonl"
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def test_a_second_process_is_refused_with_one_line(tmp_path: Path, words: tuple[str, ...]):
    """Whether it would begin a run or go on with it."""
    out = tmp_path / "run"
    first = started((*words, "--steps", "1000000"), out, Death())
    assert first.pid is not None
    try:
        while first.is_alive() and not (out / "steps.jsonl").exists():
            time.sleep(0.05)
        seconds = [call(run, *flags, "--out", str(out)) for flags in (words, ("--resume",))]
    finally:
        os.kill(first.pid, signal.SIGINT)
        first.join()
    for second in seconds:
        assert second.code == 1
        assert second.complaint.startswith(f"{out}: must have one writer at a time")
    steps = [line["step"] for line in lines(out) if line["kind"] == "step"]
    assert steps == [*range(len(steps))]


@dataclass(frozen=True)
class Between:
    """Death between the record of ``step`` and its line; of -1, while the lines are read back."""

    step: int

    def await_in(self, folder: Path) -> None:
        if self.step < 0:
            setattr(history, "write_file", lambda *_: die())  # noqa: B010
            return
        add, journal = history.History.add, folder / "journal" / "journal.jsonl"

        def dying(lines: history.History, line: history.Outcome | history.Evaluation) -> None:
            if isinstance(line, history.Outcome) and line.step == self.step:
                while read(Disk(), journal).position.step <= self.step:
                    pass
                die()
            add(lines, line)

        setattr(history.History, "add", dying)  # noqa: B010


_TAKEN = {"wall_s", "exposed_s"}


def told(out: Path) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Lines and summary, without what depends on the clock."""
    own = [{k: v for k, v in line.items() if k not in _TAKEN} for line in lines(out)]
    return own, summary_in(out)


def test_kills_between_a_record_and_its_line_change_nothing_that_is_told(
    tmp_path: Path, words: tuple[str, ...]
):
    few = (*words, "--steps", "9", "--eval-every", "4", "--save-every", "4", "--clip", "0.5")
    out, resume = tmp_path / "killed", ("--resume", "--no-report")
    assert call(run, *few, "--out", str(tmp_path / "whole")).code == 0
    for flags, step in ((few, 0), (resume, 4), (resume, -1)):
        code = exit_code(flags, out, Between(step))
        assert code == -signal.SIGKILL, out.with_suffix(".log").read_text()
    assert call(run, *resume, "--out", str(out)).code == 0
    assert told(out) == told(tmp_path / "whole")
