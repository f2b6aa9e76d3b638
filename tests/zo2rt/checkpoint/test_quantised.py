"""Folders that others have quantised: packed here by hand, loaded as what they stand for."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CompressedTensorsConfig, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from tests.by_shard import BY_SHARD
from tests.thorough import crossed
from tests.zo2rt.model.test_published_integers import words
from zo2rt.checkpoint import Checkpoint, NotByShard
from zo2rt.model.integers.published import Quantised

pytestmark = BY_SHARD
logging.disable_progress_bar()

GROUP = 32
_AWQ = [0, 2, 4, 6, 1, 3, 5, 7]


def model(dtype: torch.dtype) -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=2, vocab_size=40)
    made: Any = LlamaForCausalLM(config)
    return made.to(dtype).eval()


def layer(weight: Tensor, *, symmetric: bool, shuffled: bool = False) -> Quantised:
    """Any codes at all, in the size of a weight."""
    drawing = torch.Generator().manual_seed(int(weight.numel()))
    out, length = weight.shape
    zeros = torch.randint(1, 16, (out, length // GROUP), generator=drawing)
    order = torch.randperm(length, generator=drawing) if shuffled else torch.arange(length)
    return Quantised(
        codes=torch.randint(0, 16, (out, length), generator=drawing),
        zeros=torch.full_like(zeros, 8) if symmetric else zeros,
        scales=(torch.rand(zeros.shape, generator=drawing) / 70).to(weight.dtype),
        group_of=(torch.arange(length) // GROUP)[order],
    )


def gptq(one: Quantised, version: int) -> dict[str, Tensor]:
    stored = (one.zeros - 1) % 16 if version == 1 else one.zeros
    return {
        "qweight": words(one.codes).t(),
        "qzeros": words(stored.t()),
        "scales": one.scales.t(),
        "g_idx": one.group_of.to(torch.int32),
    }


def awq(one: Quantised) -> dict[str, Tensor]:
    def packed(rows: Tensor) -> Tensor:
        columns = rows.t()
        return words(columns.reshape(len(columns), -1, 8)[..., _AWQ].reshape(len(columns), -1))

    return {"qweight": packed(one.codes), "qzeros": packed(one.zeros), "scales": one.scales.t()}


def compressed(one: Quantised, symmetric: bool) -> dict[str, Tensor]:
    zeros = {} if symmetric else {"weight_zero_point": words(one.zeros.t()).t()}
    shape = torch.tensor(one.codes.shape)
    return {
        "weight_packed": words(one.codes),
        "weight_scale": one.scales,
        "weight_shape": shape,
        **zeros,
    }


def config_of_compressed(symmetric: bool) -> dict[str, Any]:
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": GROUP}
    weights |= {"symmetric": symmetric}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": ["lm_head"],
    }


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": True}
WAYS: dict[str, tuple[dict[str, Any], bool, bool, Callable[[Quantised], dict[str, Tensor]]]] = {
    "gptq": (GPTQ, False, True, lambda one: gptq(one, 1)),
    "gptq_v2": ({**GPTQ, "checkpoint_format": "gptq_v2"}, False, False, lambda one: gptq(one, 2)),
    "awq": (
        {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm"},
        False,
        False,
        awq,
    ),
    "compressed": (config_of_compressed(False), False, False, lambda one: compressed(one, False)),
    "symmetric": (config_of_compressed(True), True, False, lambda one: compressed(one, True)),
}


def folder_of(folder: Path, way: str, dtype: torch.dtype, **changes: Any) -> dict[str, Tensor]:
    """Write a folder quantised in one way; every weight that the model of it has."""
    about, symmetric, shuffled, pack = WAYS[way]
    dense = model(dtype)
    dense.save_pretrained(folder)
    tensors, want = load_file(folder / "model.safetensors"), dict[str, Tensor]()
    for name in [n for n in tensors if n.endswith("_proj.weight")]:
        one = layer(tensors.pop(name), symmetric=symmetric, shuffled=shuffled)
        want[name] = one.weights()
        prefix = name.removesuffix("weight")
        tensors |= {prefix + leaf: t.contiguous() for leaf, t in pack(one).items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "quantization_config": {**about, **changes}})
    )
    return {**dict(dense.named_parameters()), **want}


@pytest.mark.parametrize(
    ("way", "dtype"), crossed([*WAYS], [torch.float16, torch.bfloat16]), ids=str
)
def test_a_quantised_folder_is_the_dense_model_that_it_stands_for(
    way: str, dtype: torch.dtype, tmp_path: Path
):
    want = folder_of(tmp_path, way, dtype)
    checkpoint = Checkpoint(LlamaForCausalLM, tmp_path, dtype)
    assert (checkpoint.missing, checkpoint.unused) == ((), ())
    found = {n: checkpoint.weights(p) for n, p in checkpoint.model.named_parameters()}
    assert [*found] == [*want]
    assert [n for n, t in found.items() if t.dtype != dtype or not torch.equal(t, want[n])] == []


@pytest.mark.filterwarnings("ignore:You passed .quantization_config.:UserWarning")
@pytest.mark.skipif(find_spec("compressed_tensors") is None, reason="compressed-tensors is missing")
@pytest.mark.parametrize("way", ["compressed", "symmetric"])
def test_transformers_computes_the_same_weights(way: str, tmp_path: Path):
    want = folder_of(tmp_path, way, torch.bfloat16)
    dense = CompressedTensorsConfig(run_compressed=False)
    loaded: Any = LlamaForCausalLM.from_pretrained(
        tmp_path, dtype=torch.bfloat16, quantization_config=dense
    )
    found = loaded.state_dict()
    assert [name for name, weight in want.items() if not torch.equal(found[name], weight)] == []


@pytest.mark.parametrize(
    ("way", "changes", "message"),
    [
        ("gptq", {"bits": 3}, "bits of the config's quantization must be one of 2, 4, 8; got 3"),
        ("gptq", {"checkpoint_format": "marlin"}, "must be one of gptq, gptq_v2; got 'marlin'"),
        ("gptq", {"dynamic": {"a": {}}}, "dynamic of the config's quantization must be left out"),
        ("awq", {"version": "gemv"}, "version of .* must be one of gemm; got 'gemv'"),
        ("awq", {"group_size": 40}, "inputs must be in whole groups of 40; there are 96"),
        ("symmetric", {"format": "marlin-24"}, "format of .* must be one of pack-quantized"),
        ("symmetric", {"config_groups": {}}, "must be one, without a kv_cache_scheme"),
    ],
)
def test_what_is_not_read_is_refused_with_the_reason(
    way: str, changes: dict[str, Any], message: str, tmp_path: Path
):
    folder_of(tmp_path, way, torch.float16, **changes)
    with pytest.raises(ValueError, match=message):
        Checkpoint(LlamaForCausalLM, tmp_path, torch.float16)


def test_another_method_is_left_to_from_pretrained(tmp_path: Path):
    folder_of(tmp_path, "awq", torch.float16, quant_method="bitsandbytes")
    with pytest.raises(NotByShard, match="its weights are quantised"):
        Checkpoint(LlamaForCausalLM, tmp_path, torch.float16)


def test_a_layer_that_lacks_a_tensor_is_named(tmp_path: Path):
    folder_of(tmp_path, "gptq", torch.float16)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.qzeros"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.up_proj must have qzeros"):
        Checkpoint(LlamaForCausalLM, tmp_path, torch.float16)
