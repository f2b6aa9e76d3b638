"""Ctrl-C when a command is nearly over: no traceback, and an exit code that says what is there."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import run
from experiments.cli import run as command
from tests import ROOT
from tests.commands import call
from tests.experiments.training.test_run_processes import words  # noqa: F401, a fixture

_LATE = """
import atexit, os, signal, sys, time
from experiments import plan
from experiments.cli import run

atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0.1)))
sys.exit(run(plan.main, plan.Config))
"""


def test_ctrl_c_while_the_interpreter_goes_down_is_quiet():
    """Of a command that starts quickly: what comes last is the same of all."""
    command = [sys.executable, "-c", _LATE, "opt-125m"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("opt-125m on ")


def test_ctrl_c_after_the_last_step_changes_nothing(
    tmp_path: Path,
    words: tuple[str, ...],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
):
    """The folder is written to its end, whatever is asked meanwhile."""
    made = run.output

    def output(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return made(*arguments)

    monkeypatch.setattr(run, "output", output)
    outcome = call(run, *words, "--steps", "1", "--out", str(tmp_path))
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 1


def test_a_command_of_a_test_hears_ctrl_c_as_before(capsys: pytest.CaptureFixture[str]):
    before = signal.getsignal(signal.SIGINT)
    assert command(run.main, run.Config, ["--steps", "0"]) == 2
    assert signal.getsignal(signal.SIGINT) is before
