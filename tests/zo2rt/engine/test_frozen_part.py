"""A run goes on with the model that it began with: what is not trained is checked too."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from torch import nn

from tests.families import batch, build
from tests.zo2rt.engine.engine_runs import OPTIMIZER, engine, recipe
from zo2rt.backends import HostBackend
from zo2rt.model.identity import Forward
from zo2rt.model.loss import model_loss
from zo2rt.model.units import find_units
from zo2sim.plan.choices import Plan


def partly_frozen() -> Any:
    """A model of which the blocks' first layer is not trained, and which has buffers."""
    model: Any = build("llama")
    model.model.layers[0].requires_grad_(False)
    return model


def steps(model: nn.Module, folder: Path) -> int:
    with engine(model, Plan(), recipe(), batch("llama"), HostBackend, OPTIMIZER, folder) as trained:
        trained.step(batch("llama"))
        return trained.num_steps


def another_base(model: Any) -> None:
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] += 1.0


def another_buffer(model: Any) -> None:
    model.model.rotary_emb.inv_freq.mul_(2.0)


def another_activation(model: Any) -> None:
    for layer in model.model.layers:
        layer.mlp.act_fn = nn.GELU()


def another_config(model: Any) -> None:
    model.config.rms_norm_eps = 0.5


def another_number(model: Any) -> None:
    model.model.norm.variance_epsilon = 0.5


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that made a step, which no test changes."""
    folder = tmp_path_factory.mktemp("begun")
    assert steps(partly_frozen(), folder) == 1
    return folder


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (another_base, "frozen_parameters"),
        (another_buffer, "buffers"),
        (another_activation, "config"),
        (another_config, "config"),
        (another_number, "config"),
    ],
)
def test_what_differs_is_named_and_the_run_stays_as_it_was(
    change: Callable[[Any], None], name: str, begun: Path
):
    before = (begun / "journal.jsonl").read_bytes()
    other = partly_frozen()
    change(other)
    with pytest.raises(ValueError, match=rf"by; forward\.{name} is '\w+' in the journal and"):
        steps(other, begun)
    assert (begun / "journal.jsonl").read_bytes() == before


def test_the_same_model_goes_on(begun: Path, tmp_path: Path):
    """Also where others were refused."""
    copytree(begun, tmp_path, dirs_exist_ok=True)
    assert steps(partly_frozen(), tmp_path) == 2


def test_trained_weights_are_the_journals_from_step_0_on(tmp_path: Path):
    """A run that was stopped before its first step had other weights when it went on."""
    how, example = recipe(), batch("llama")
    with engine(partly_frozen(), Plan(), how, example, HostBackend, OPTIMIZER, tmp_path):
        pass
    other = partly_frozen()
    with torch.no_grad():
        other.lm_head.weight.zero_()
    with engine(other, Plan(), how, example, HostBackend, OPTIMIZER, tmp_path):
        pass
    assert torch.equal(other.lm_head.weight, partly_frozen().lm_head.weight)


def test_where_it_lies_and_who_saved_it_does_not_matter(tmp_path: Path):
    def identity(model: Any) -> Forward:
        units = find_units(model, model_loss, batch("llama"))
        return Forward.of(model, [p for unit in units.order for p in unit.parameters])

    model = build("llama")
    model.save_pretrained(tmp_path)  # type: ignore[operator]
    again = type(model).from_pretrained(tmp_path).eval()  # type: ignore[attr-defined]
    assert identity(again) == identity(model)
