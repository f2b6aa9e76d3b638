"""`run` reads a folder by shard, begins from its files, and says where it cannot."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from experiments import replay, run
from tests.by_shard import BY_SHARD
from tests.commands import Outcome, call
from tests.experiments.training.test_loaded_model import SIZES, saved
from zo2rt.checkpoint import Checkpoint

pytestmark = BY_SHARD
STEPS = ("--steps", "2", "--batch", "2", "--sequence", "16", "--schedule", "constant")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, data, and a run of two steps."""
    folder = tmp_path_factory.mktemp("by-shard")
    saved(LlamaForCausalLM(LlamaConfig(**SIZES)), folder / "m")
    (folder / "data.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    assert started(folder, folder / "m", folder / "out").err == ""
    return folder


def started(made: Path, model: Path, out: Path) -> Outcome:
    flags = ("--model", str(model), "--data", str(made / "data.jsonl"), *STEPS, "--no-report")
    outcome = call(run, *flags, "--lr", "1e-2", "--out", str(out))
    assert outcome.code == 0, outcome.err
    return outcome


def test_its_journal_begins_with_no_copy_of_the_model(made: Path):
    base = made / "out" / "journal" / "snapshots" / "step-00000000"
    assert [path.name for path in base.iterdir()] == ["manifest.json"]
    digest = hashlib.sha256((made / "m" / "model.safetensors").read_bytes()).hexdigest()
    assert digest in (base / "manifest.json").read_text()


def test_what_it_saves_is_loaded_by_shard_too(made: Path):
    model: Any = LlamaForCausalLM
    folder = made / "out" / "model"
    checkpoint = Checkpoint(model, folder, torch.float32)
    dense = dict(model.from_pretrained(folder).named_parameters())
    for name, parameter in checkpoint.model.named_parameters():
        assert torch.equal(checkpoint.weights(parameter), dense[name])


def test_every_step_is_rebuilt_from_the_model_s_files(made: Path, tmp_path: Path):
    out = tmp_path / "weights.safetensors"
    for step, wanted in ((0, made / "m"), (2, made / "out" / "model")):
        assert call(replay, str(made / "out"), "--step", str(step), "--out", str(out)).code == 0
        found, model = load_file(out), load_file(wanted / "model.safetensors")
        assert [name for name in found if not torch.equal(found[name], model[name])] == []
        out.unlink()


def test_a_run_whose_model_has_changed_is_refused_by_the_file(made: Path, tmp_path: Path):
    shutil.copytree(made, tmp_path / "it")
    path = tmp_path / "it" / "m" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    flags = ("--resume", "--steps", "3", "--model", str(path.parent), "--no-report")
    complaint = call(run, *flags, "--out", str(tmp_path / "it" / "out")).complaint
    assert "model.safetensors in the model's folder must be the file that the run" in complaint


def test_a_torn_shard_is_refused_by_name_before_anything_is_written(made: Path, tmp_path: Path):
    shutil.copytree(made / "m", tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    flags = ("--model", str(path.parent), "--data", str(made / "data.jsonl"), *STEPS)
    complaint = call(run, *flags, "--out", str(tmp_path / "out")).complaint
    assert "model.safetensors: is torn: " in complaint
    assert not (tmp_path / "out").exists()


def test_a_model_that_only_transformers_loads_is_said_to_be_loaded_whole(
    made: Path, tmp_path: Path
):
    shutil.copytree(made / "m", tmp_path / "m")
    torch.save(load_file(tmp_path / "m" / "model.safetensors"), tmp_path / "m/pytorch_model.bin")
    (tmp_path / "m" / "model.safetensors").unlink()
    outcome = started(made, tmp_path / "m", tmp_path / "out")
    assert outcome.err.splitlines() == [
        f"note: {tmp_path / 'm'} is loaded whole, not by shard: its weights are in no safetensors "
        "file"
    ]
    same = [f / "model" / "model.safetensors" for f in (made / "out", tmp_path / "out")]
    assert same[0].read_bytes() == same[1].read_bytes()
