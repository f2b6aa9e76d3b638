"""Several processes, kills and moves: what a run's folder goes through."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import ROOT
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


def started(*flags: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "experiments.run", *flags]
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
