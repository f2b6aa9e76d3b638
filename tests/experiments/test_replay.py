"""The replay command: weights of any step, without a model."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from experiments import replay
from tests.commands import call
from tests.families import batch, build
from tests.zo2rt.engine.engine_runs import engine, recipe
from zo2sim.plan.choices import Plan


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "journal"
    with engine(build("opt"), Plan(), recipe(), batch("opt"), folder=folder) as trained:
        for number in range(3):
            trained.step(batch("opt", seed=number))
    return folder


def test_the_last_step_is_the_default(folder: Path, tmp_path: Path):
    out = tmp_path / "weights.safetensors"
    answer = call(replay, str(folder), "--out", str(out), "--json", "-").json
    assert (answer["step"], answer["steps_in_journal"]) == (3, 3)
    model = build("opt")
    with engine(model, Plan(), recipe(), batch("opt")) as trained:
        for number in range(3):
            trained.step(batch("opt", seed=number))
    assert all(torch.equal(model.get_parameter(k), v) for k, v in load_file(out).items())


def test_the_folder_of_a_command_holds_the_engine_s(folder: Path):
    inside, around = (call(replay, str(f), "--json", "-").json for f in (folder, folder.parent))
    assert inside == around


def test_step_0_is_what_the_run_started_from(folder: Path):
    first = call(replay, str(folder), "--step", "0", "--json", "-").json
    last = call(replay, str(folder), "--json", "-").json
    assert first["sha256"] != last["sha256"]
    assert call(replay, str(folder), "--step", "0").out.startswith("step 0 of 3: ")


def test_a_step_beyond_the_journal_is_refused(folder: Path):
    refused = call(replay, str(folder), "--step", "9")
    assert refused.code == 2
    assert "the journal reaches step 3" in refused.complaint


def test_a_folder_without_a_run_is_refused(tmp_path: Path):
    assert (
        "must hold a journal, journal.jsonl; there is none" in call(replay, str(tmp_path)).complaint
    )
