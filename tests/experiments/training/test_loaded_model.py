"""A folder is trained as what it is, or refused: never as something that it has no weights for."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    ByT5Tokenizer,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
    PreTrainedModel,
    XLNetConfig,
    XLNetLMHeadModel,
)

from experiments import run
from experiments.training import loaded_model
from experiments.training.loaded_model import LoadedModel
from tests.commands import call
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Recipe

BYTES = ByT5Tokenizer(extra_ids=0)
SIZES: dict[str, Any] = {
    "vocab_size": len(BYTES),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
GPT2: dict[str, Any] = {
    "vocab_size": len(BYTES),
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 64,
}
XLNET: dict[str, Any] = {
    "vocab_size": len(BYTES),
    "d_model": 16,
    "n_layer": 2,
    "n_head": 2,
    "d_inner": 32,
}
STEPS = ("--steps", "1", "--batch", "2", "--sequence", "16", "--no-report")


def load(name: str, folder: Path, dtype: Dtype = Dtype.FP32) -> LoadedModel:
    return loaded_model.load(name, folder, Recipe(storage_dtype=dtype), seed=0)


def saved(model: PreTrainedModel, folder: Path, **changes: Any) -> Path:
    """Model and tokenizer, with ``changes`` of config.json."""
    model.save_pretrained(folder)
    BYTES.save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def complaint(folder: Path, tmp_path: Path) -> str:
    """What `run` says of a folder that it refuses; nothing is written."""
    data = tmp_path / "data.jsonl"
    data.write_text('{"text": "one"}\n{"text": "two"}\n')
    out = tmp_path / "out"
    outcome = call(run, "--model", str(folder), "--data", str(data), *STEPS, "--out", str(out))
    assert (outcome.code, out.exists()) == (2, False)
    return outcome.complaint


def test_a_classifier_is_no_causal_language_model(tmp_path: Path):
    model = LlamaForSequenceClassification(LlamaConfig(**SIZES))
    said = complaint(saved(model, tmp_path / "m"), tmp_path)
    assert "holds a LlamaForSequenceClassification, and run trains the next token" in said


def test_nor_where_its_head_could_be_made_of_the_embeddings(tmp_path: Path):
    config = GPT2Config(**GPT2, bos_token_id=1, eos_token_id=1)
    said = complaint(saved(GPT2ForSequenceClassification(config), tmp_path / "m"), tmp_path)
    assert "holds a GPT2ForSequenceClassification" in said


def test_nor_is_a_masked_language_model(tmp_path: Path):
    said = complaint(saved(BertForMaskedLM(BertConfig(**SIZES)), tmp_path / "m"), tmp_path)
    assert "holds a BertForMaskedLM" in said


@pytest.mark.parametrize(
    "encoder",
    [
        lambda: BertLMHeadModel(BertConfig(**SIZES)),
        lambda: XLNetLMHeadModel(XLNetConfig(**XLNET)),
    ],
    ids=["BERT", "XLNet"],
)
@pytest.mark.filterwarnings("ignore")
def test_what_sees_the_tokens_that_it_predicts_is_refused(encoder: Any, tmp_path: Path):
    said = complaint(saved(encoder(), tmp_path / "m"), tmp_path)
    assert "sees the tokens that it is asked to predict" in said


def test_a_decoder_of_the_same_class_is_taken(tmp_path: Path):
    folder = saved(BertLMHeadModel(BertConfig(**SIZES, is_decoder=True)), tmp_path / "m")
    load("bert", folder).check_causal()


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_a_head_is_never_invented(named: bool, tmp_path: Path):
    """A base model, or a config that doesn't say: what is missing would be random."""
    changes: dict[str, Any] = {} if named else {"architectures": None}
    said = complaint(saved(LlamaModel(LlamaConfig(**SIZES)), tmp_path / "m", **changes), tmp_path)
    assert "has no lm_head.weight, which would be new and random" in said


def test_weights_that_are_missing_are_counted(tmp_path: Path):
    folder = saved(LlamaForCausalLM(LlamaConfig(**SIZES)), tmp_path / "m", num_hidden_layers=4)
    with pytest.raises(ValueError, match=r"has no model\.layers\.2\..+ and 16 more"):
        load("deeper", folder)


def test_a_base_model_whose_head_is_its_embedding_is_whole(tmp_path: Path):
    config = GPT2Config(**GPT2, bos_token_id=1, eos_token_id=1)
    loaded = load("gpt2", saved(GPT2Model(config), tmp_path / "m"))
    loaded.check_causal()
    assert loaded.unused == ()


def test_weights_that_nothing_uses_are_named(tmp_path: Path):
    folder = saved(LlamaForCausalLM(LlamaConfig(**SIZES)), tmp_path / "m", num_hidden_layers=1)
    unused = load("shorter", folder).unused
    assert len(unused) == 9
    assert {name.split(".")[2] for name in unused} == {"1"}


# Strangers' files


def test_code_of_a_folder_is_never_run_nor_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    classes = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    folder = saved(model, tmp_path / "m", model_type="own", auto_map=classes)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    asked = io.StringIO("yes\n" * 9)
    monkeypatch.setattr("sys.stdin", asked)
    assert "needs code of its own (auto_map in its files), which is never run" in complaint(
        folder, tmp_path
    )
    assert (asked.tell(), (tmp_path / "ran").exists()) == (0, False)


def test_where_transformers_has_the_class_the_folders_code_is_passed_over(tmp_path: Path):
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    folder = saved(model, tmp_path / "m", auto_map={"AutoModelForCausalLM": "own.Model"})
    assert type(load("llama", folder).model) is LlamaForCausalLM


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_weights_that_cannot_be_read_are_one_line(name: str, tmp_path: Path):
    folder = saved(LlamaForCausalLM(LlamaConfig(**SIZES)), tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"no weights at all")
    assert "--model must be 'tiny', a folder that holds" in complaint(folder, tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_what_may_have_no_end_is_not_read(name: str, tmp_path: Path):
    folder = saved(LlamaForCausalLM(LlamaConfig(**SIZES)), tmp_path / "m")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("/dev/zero")
    assert f"{name}: a model is files, and no pipes or devices" in complaint(folder, tmp_path)


def test_the_dtype_is_the_one_that_was_asked_for(tmp_path: Path):
    folder = saved(LlamaForCausalLM(LlamaConfig(**SIZES)), tmp_path / "m")
    loaded = load("llama", folder, Dtype.BF16)
    loaded.check_causal()
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}
