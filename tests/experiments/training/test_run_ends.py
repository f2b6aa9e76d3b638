"""Ctrl-C when a run is nearly over: no traceback, and an exit code that says what is on disk."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from experiments import run
from experiments.cli import run as command
from tests.commands import call
from tests.experiments.training.test_run_processes import started, words  # noqa: F401, a fixture

_LATE = """
import atexit, os, signal, sys, time
from experiments import run
from experiments.cli import run as command

atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0.1)))
sys.exit(command(run.main, run.Config))
"""


def test_ctrl_c_while_the_interpreter_goes_down_is_quiet(tmp_path: Path, words: tuple[str, ...]):  # noqa: F811
    flags = (*words, "--steps", "1", "--out", str(tmp_path))
    with started(*flags, code=_LATE) as process:
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert f"written to {tmp_path}" in out


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
