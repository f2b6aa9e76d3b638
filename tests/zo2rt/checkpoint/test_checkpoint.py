"""What is read by shard is what `from_pretrained` loads, bit by bit: weights, buffers, ties."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Model,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers.utils import logging

from tests.by_shard import BY_SHARD
from tests.families import FAMILIES, build
from tests.thorough import crossed, some_of
from tests.zo2rt.tracing.configs import CONFIGS, real
from zo2rt.checkpoint import Checkpoint, NotByShard
from zo2rt.checkpoint import checkpoint as loader

logging.disable_progress_bar()
pytestmark = [BY_SHARD, pytest.mark.filterwarnings("ignore::FutureWarning")]
DTYPES = (torch.float32, torch.bfloat16)


def saved(model: Any, folder: Path, *, shard: str = "20KB") -> tuple[type[PreTrainedModel], Path]:
    model.save_pretrained(folder, max_shard_size=shard)
    return type(model), folder


def compare(kind: Any, folder: Path, dtype: torch.dtype = torch.float32) -> Checkpoint:
    """Assert that both loads give the same model."""
    torch.manual_seed(0)
    dense: Any = kind.from_pretrained(folder, dtype=dtype)
    torch.manual_seed(0)
    checkpoint = Checkpoint(kind, folder, dtype)
    model = checkpoint.model
    assert type(model) is type(dense)
    assert [*names(model)] == [*names(dense)]
    assert [*shared(model)] == [*shared(dense)]
    read = {n: checkpoint.weights(p) for n, p in model.named_parameters()}
    assert different(read, dict(dense.named_parameters())) == []
    assert different(dict(model.named_buffers()), dict(dense.named_buffers())) == []
    assert model.config.to_dict() == dense.config.to_dict()
    assert getattr(model, "generation_config", None) == getattr(dense, "generation_config", None)
    assert [*places(model)] == [*places(dense)]
    assert not model.training
    return checkpoint


def names(model: nn.Module) -> Any:
    """With shape, dtype and whether it trains."""
    return ((n, p.shape, p.dtype, p.requires_grad) for n, p in model.named_parameters())


def places(model: nn.Module) -> Any:
    """Where PEFT looks for the config."""
    return (m.name_or_path for m in model.modules() if isinstance(m, PreTrainedModel))


def shared(model: nn.Module) -> Any:
    """The first name of each parameter, by every name that it has."""
    first = {id(p): n for n, p in model.named_parameters()}
    return ((n, first[id(p)]) for n, p in model.named_parameters(remove_duplicate=False))


def different(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert [*one] == [*other]
    return [n for n, t in one.items() if t.dtype != other[n].dtype or not torch.equal(t, other[n])]


@pytest.mark.parametrize(("family", "dtype"), crossed([*FAMILIES], DTYPES), ids=str)
def test_a_family(family: str, dtype: torch.dtype, tmp_path: Path):
    kind, folder = saved(build(family), tmp_path)
    assert len([*folder.glob("*.safetensors")]) > 1
    checkpoint = compare(kind, folder, dtype)
    assert (checkpoint.missing, checkpoint.unused) == ((), ())


@pytest.mark.parametrize(("case", "dtype"), crossed(some_of([*CONFIGS], every=2), DTYPES), ids=str)
def test_a_class_of_any_kind(case: str, dtype: torch.dtype, tmp_path: Path):
    compare(*saved(real(case), tmp_path), dtype)


def test_nothing_of_the_weights_is_in_memory(tmp_path: Path):
    checkpoint = Checkpoint(*saved(build("llama"), tmp_path), torch.float32)
    parameters = [*checkpoint.model.parameters()]
    assert {p.untyped_storage().nbytes() for p in parameters} == {4}
    assert all(torch.isnan(p).all() for p in parameters)


def test_an_auto_class_stands_for_the_class_of_the_config(tmp_path: Path):
    kind, folder = saved(build("qwen3"), tmp_path)
    assert type(compare(AutoModelForCausalLM, folder).model) is kind


def test_the_head_of_a_base_model_is_its_embedding(tmp_path: Path):
    base: Any = build("gpt2")
    base.transformer.save_pretrained(tmp_path)
    assert type(base.transformer) is GPT2Model
    assert compare(AutoModelForCausalLM, tmp_path).missing == ()


def test_a_head_that_is_missing_is_drawn_as_ever(tmp_path: Path):
    _, folder = saved(build("llama"), tmp_path)
    checkpoint = compare(AutoModelForSequenceClassification, folder)
    assert (checkpoint.missing, checkpoint.unused) == (("score.weight",), ("lm_head.weight",))


@pytest.mark.parametrize("equal", [True, False], ids=["equal", "not equal"])
def test_two_stored_matrices_are_tied_where_they_are_equal(equal: bool, tmp_path: Path):
    kind, folder = saved(build("llama-tied"), tmp_path, shard="1GB")
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + (0.0 if equal else 1.0)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert dict(shared(compare(kind, folder).model))["lm_head.weight"] == (
        "model.embed_tokens.weight" if equal else "lm_head.weight"
    )


def test_a_buffer_that_is_stored_and_computed_is_computed(tmp_path: Path):
    """Old checkpoints hold rotary tables of every block."""
    kind, folder = saved(build("llama"), tmp_path, shard="1GB")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert compare(kind, folder).unused == ()


# What only `from_pretrained` loads, and what nobody can


def not_by_shard(folder: Path) -> str:
    with pytest.raises(NotByShard) as raised:
        Checkpoint(LlamaForCausalLM, folder, torch.float32)
    return str(raised.value)


def test_other_files_are_left_to_transformers(tmp_path: Path):
    model: Any = build("llama")
    _, folder = saved(model, tmp_path, shard="1GB")
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert not_by_shard(folder) == "its weights are in no safetensors file"


def test_so_are_quantised_weights(tmp_path: Path):
    _, folder = saved(build("llama"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "hqq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    assert not_by_shard(folder) == "its weights are quantised"


def test_another_shape_is_named(tmp_path: Path):
    kind, folder = saved(build("llama"), tmp_path, shard="1GB")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = torch.ones(33)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    shape = r"model\.norm\.weight must have the shape \(32,\) .+ in model\.safetensors it has \(33,"
    with pytest.raises(ValueError, match=shape):
        Checkpoint(kind, folder, torch.float32)


def test_codes_are_no_weights(tmp_path: Path):
    kind, folder = saved(build("llama"), tmp_path, shard="1GB")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = torch.ones(32, dtype=torch.int8)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"model\.norm\.weight must be of floating-point numbers"):
        Checkpoint(kind, folder, torch.float32)


def test_an_older_transformers_loads_the_folder_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loader.transformers, "__version__", "5.17.0")
    with pytest.raises(NotByShard, match=r"that takes transformers 5\.24; here is 5\.17\.0"):
        Checkpoint(AutoModelForCausalLM, tmp_path, torch.float32)
