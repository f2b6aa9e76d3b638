"""Several processes, kills and moves: what a run's folder goes through."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import run
from tests import ROOT
from tests.commands import call
from tests.tiny_causal import save

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


def started(*flags: str, code: str | None = None) -> "subprocess.Popen[str]":
    """A run of its own; ``code`` is what runs instead of the command."""
    how = ["-m", "experiments.run"] if code is None else ["-c", code]
    command = [sys.executable, *how, *flags]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def lines(out: Path) -> list[dict[str, object]]:
    path = out / "steps.jsonl"
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


@pytest.mark.parametrize("again", [False, True], ids=["run", "resume"])
def test_a_second_process_is_refused_with_one_line(
    tmp_path: Path, words: tuple[str, ...], again: bool
):
    out = tmp_path / "run"
    with started(*words, "--steps", "1000000", "--out", str(out)) as first:
        while first.poll() is None and not (out / "steps.jsonl").exists():
            time.sleep(0.05)
        second = started(*(("--resume",) if again else words), "--out", str(out))
        complaint = second.communicate()[1]
        first.send_signal(signal.SIGINT)
        first.communicate()
    assert second.returncode == 1
    assert complaint.startswith(f"error: {out}: must have one writer at a time")
    assert complaint.count("\n") == 1
    steps = [line["step"] for line in lines(out) if line["kind"] == "step"]
    assert steps == [*range(len(steps))]


_DYING = """
import os, signal, sys
from experiments import run
from experiments.cli import run as command
from experiments.training import history
from zo2rt.journal import read
from zo2rt.journal.durable import Disk

add, write_file, step = history.History.add, history.write_file, int(sys.argv[1])

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def dying(self, line):
    if isinstance(line, history.Outcome) and line.step == step:
        while read(Disk(), self.path.parent / "journal" / "journal.jsonl").position.step <= step:
            pass
        kill()
    add(self, line)

history.History.add = dying
if step < 0:
    history.write_file = lambda path, data: kill()
sys.exit(command(run.main, run.Config, sys.argv[2:]))
"""
_TAKEN = {"wall_s", "exposed_s"}
_OF_THE_CALL = ("step_s", "tokens_per_s", "exposed_share", "predicted", "host_rss_bytes", "run_id")


def killed(step: int, *flags: str) -> None:
    """Between the record of ``step`` and its line; of -1, while the lines are read back."""
    command = [sys.executable, "-c", _DYING, str(step), *flags]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def told(out: Path) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Lines and summary, without what depends on the clock."""
    summary = json.loads((out / "summary.json").read_text())
    same = {k: v for k, v in summary.items() if k not in _OF_THE_CALL and "energy" not in k}
    return [{k: v for k, v in line.items() if k not in _TAKEN} for line in lines(out)], same


def test_kills_between_a_record_and_its_line_change_nothing_that_is_told(
    tmp_path: Path, words: tuple[str, ...]
):
    few = (*words, "--steps", "9", "--eval-every", "4", "--save-every", "4", "--clip", "0.5")
    resume = ("--resume", "--no-report", "--out", str(tmp_path / "killed"))
    assert call(run, *few, "--out", str(tmp_path / "whole")).code == 0
    killed(0, *few, "--out", str(tmp_path / "killed"))
    killed(4, *resume)
    killed(-1, *resume)
    assert call(run, *resume).code == 0
    assert told(tmp_path / "killed") == told(tmp_path / "whole")
