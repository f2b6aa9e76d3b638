"""A Trainer whose model comes by shard trains and saves as with one that was loaded whole."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers.utils import logging

from tests.by_shard import BY_SHARD
from tests.families import build
from tests.zo2rt.engine.test_trainer import arguments, same, trainer, weights
from zo2rt.checkpoint import Checkpoint

pytestmark = BY_SHARD
logging.disable_progress_bar()


def opened(folder: Path) -> Checkpoint:
    model: Any = build("opt")
    model.save_pretrained(folder)
    return Checkpoint(type(model), folder, torch.float32)


def test_its_steps_are_the_same(tmp_path: Path):
    checkpoint, model = opened(tmp_path / "model"), build("opt")
    with trainer(checkpoint.model, arguments(tmp_path), checkpoint=checkpoint) as by_shard:
        by_shard.train()
    with trainer(model, arguments(tmp_path)) as whole:
        whole.train()
    assert same(weights(checkpoint.model), weights(model))


def test_what_it_saves_before_a_step_holds_the_weights(tmp_path: Path):
    checkpoint = opened(tmp_path / "model")
    with trainer(checkpoint.model, arguments(tmp_path), checkpoint=checkpoint) as one:
        one.save_model(str(tmp_path / "saved"))
    files = [load_file(tmp_path / name / "model.safetensors") for name in ("saved", "model")]
    assert same(*files)
