"""Presets: published parameter counts, ties as published, names resolved without a network."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from zo2sim.models.config import from_config
from zo2sim.models.presets import config, names, preset, resolve

# Parameter counts that Hugging Face shows for the published checkpoints (safetensors metadata).
# Checkpoints without such a count, or with a stored copy of a tied LM head, are left out.
PUBLISHED = {
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_the_published_ones(name: str):
    assert preset(name).elements == PUBLISHED[name]


@pytest.mark.parametrize(
    "name",
    [
        *("opt-125m", "opt-350m", "opt-13b", "opt-175b", "gpt2-xl", "gpt3-175b", "llama-2-70b"),
        *("qwen3-0.6b", "mistral-7b", "mixtral-8x7b", "gemma-2-2b", "llama-3.1-405b"),
        *("opt-350m:untied", "gpt2:untied"),
    ],
)
def test_parameters_are_those_of_the_transformers_class(name: str):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model, real_config = preset(name), transformers_config(name, transformers)
    with torch.device("meta"):
        real = transformers.AutoModelForCausalLM.from_config(real_config)
    mine = {p.name: p.shape for u in (model.head, *model.blocks, model.tail) for p in u.parameters}
    assert mine == {n: tuple(p.shape) for n, p in real.named_parameters()}
    assert model.elements == sum(p.numel() for p in real.parameters())


def transformers_config(name: str, transformers: Any) -> Any:
    """The preset's own fields, through the config class of transformers."""
    plain, _, tie = name.partition(":")
    fields = config(plain) | ({"tie_word_embeddings": False} if tie else {})
    fields.pop("id", None)
    return transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)


@pytest.mark.parametrize("name", [n for n in names() if not n.startswith("mixtral")])
def test_dense_models_multiply_twice_per_weight(name: str):
    """2 FLOPs per token and weight; look-up tables do not multiply, norms and biases are small."""
    model = preset(name, tied=False)
    units = (model.head, *model.blocks, model.tail)
    flops = sum(2 * g.n * g.k * g.count * g.rows_per_token for u in units for g in u.gemms)
    tables = sum(p.elements for p in model.head.parameters if ".project_in." not in p.name)
    assert flops == pytest.approx(2 * (model.elements - tables), rel=2e-3)


def test_names_cover_the_families_from_small_to_large():
    assert names()[:3] == ("opt-125m", "opt-350m", "opt-1.3b")
    assert names()[-1] == "gpt3-175b"
    assert len(names()) == len(set(names())) == 33


def test_opt_is_tied_as_published_and_untied_on_request():
    tied, untied = preset("opt-13b"), preset("opt-13b", tied=False)
    assert tied.tied
    assert not untied.tied
    assert untied.name == "opt-13b:untied"
    assert untied == preset("opt-13b:untied") == resolve("opt-13b:untied")
    assert untied.elements - tied.elements == 50272 * 5120
    assert preset("llama-2-7b:untied") == preset("llama-2-7b")


def test_opt_175b_builds_in_milliseconds():
    fields = json.loads(OPT_175B)
    durations: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        from_config(fields, name="opt-175b")
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.02


OPT_175B = """{"model_type": "opt", "vocab_size": 50272, "max_position_embeddings": 2048,
"hidden_size": 12288, "num_hidden_layers": 96, "num_attention_heads": 96, "ffn_dim": 49152}"""


def test_resolve_takes_presets_ids_folders_and_files(tmp_path: Path):
    (tmp_path / "config.json").write_text(OPT_175B)
    assert resolve("opt-175b") is preset("opt-175b")
    assert resolve("facebook/opt-13b") is preset("opt-13b")
    assert resolve("facebook/opt-13b:untied") == preset("opt-13b", tied=False)
    assert resolve(str(tmp_path)).elements == preset("opt-175b").elements
    assert resolve(str(tmp_path / "config.json")).name == tmp_path.name


@pytest.mark.parametrize("text", ["someone/some-model", "", "opt-14b", "a\0b", "x" * 5000])
def test_what_cannot_be_resolved_says_what_to_give(text: str):
    with pytest.raises(ValueError, match=r"not downloaded: give the folder or config\.json"):
        resolve(text)


def test_unknown_names_and_contradictions_are_refused():
    with pytest.raises(ValueError, match=r"model must be one of opt-125m, .*; got 'opt-14b'"):
        preset("opt-14b")
    with pytest.raises(ValueError, match="the suffix and tied must agree; got tied=True"):
        preset("opt-13b:untied", tied=True)
