"""`run` on the host has as many threads as its prediction is for, or says that it has others."""

import json
from pathlib import Path

import pytest
import torch

from experiments import run
from experiments.training.settings import Config
from tests.calibrated import calibrated_host
from tests.commands import call
from tests.experiments.training.test_run import SMALL, data, model  # noqa: F401, they are fixtures
from zo2rt.backends.process import intra_op_threads
from zo2sim.machines.file import dump


@pytest.fixture
def calibrated(tmp_path: Path) -> str:
    file = tmp_path / "machine.toml"
    file.write_text(dump(calibrated_host()))
    return str(file)


@pytest.fixture
def several_threads():
    with intra_op_threads(3):
        yield


def test_threads_are_those_that_the_machine_was_calibrated_with(
    calibrated: str, several_threads: None
):
    assert Config(machine=calibrated).num_threads == 1
    assert Config(machine=calibrated, backend="virtual").num_threads == 1  # to the same bits
    assert Config(machine=calibrated, backend="cuda").num_threads == 3
    assert Config(machine="this-host", model="folder").num_threads == 3
    assert Config(machine="this-host").num_threads == 1  # the tiny model
    assert Config(machine=calibrated, threads=2).num_threads == 2
    assert Config(machine=calibrated).resolved.threads == 1


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="--threads must be >= 1; got 0"):
        Config(threads=0)


@pytest.mark.parametrize(
    ("flags", "threads"), [((), 1), (("--threads", "2"), 2)], ids=["calibrated", "more"]
)
def test_a_run_says_whether_it_compares_with_its_prediction(
    tmp_path: Path,
    calibrated: str,
    model: Path,  # noqa: F811
    data: Path,  # noqa: F811
    several_threads: None,
    flags: tuple[str, ...],
    threads: int,
):
    out = tmp_path / "run"
    words = ("--model", str(model), "--data", str(data), "--machine", calibrated, *SMALL)
    outcome = call(run, *words, "--out", str(out), *flags)
    assert outcome.code == 0
    assert torch.get_num_threads() == 3
    summary = json.loads((out / "summary.json").read_text())
    found = summary["predicted"]
    assert (summary["threads"], found["threads"]) == (threads, 1)
    assert found["comparable"] == (threads == 1)
    assert f"on {threads} thread" in outcome.out
    words = "not comparable: predicted for 1 thread; --threads 1 runs so"
    assert (words in outcome.out) == (threads != 1)
    report = (out / "report.json").read_text()
    assert ("so the two are not comparable" in report) == (threads != 1)
    assert ("from what was measured" in report) == (threads == 1)
    settings = json.loads((out / "config.json").read_text())["settings"]
    assert settings["threads"] == threads
