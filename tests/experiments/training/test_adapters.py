"""A run with LoRA: adapters of its own or a folder's; they alone train, and they are saved."""

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import copy, copytree
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, ByT5Tokenizer, GPT2Config, GPT2LMHeadModel

from experiments import run
from experiments.training.adapters import CONFIG
from experiments.training.loaded_model import LoadedModel, load
from tests.commands import call
from tests.tiny_causal import save
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Recipe

LORA = Recipe(storage_dtype=Dtype.BF16, trainable="lora:2")
STEPS = (
    *("--trainable", "lora:2", "--steps", "3", "--batch", "2", "--sequence", "16"),
    *("--lr", "1e-2", "--eps", "1e-2", "--threads", "1", "--no-report"),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data(base: Path) -> Path:
    path = base.parent / "parity.jsonl"
    rows = [{"text": f"{n}", "label": "even" if n % 2 == 0 else "odd"} for n in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def trained(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, which no test changes."""
    out = tmp_path_factory.mktemp("runs") / "lora"
    flags = ("--model", str(base), "--data", str(data), *STEPS, "--out", str(out))
    assert call(run, *flags).code == 0
    return out


def whole(loaded: LoadedModel) -> Any:
    """The model with its weights."""
    assert loaded.checkpoint is not None
    loaded.checkpoint.settle()
    return loaded.model


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(8)[None]).logits


def names_of(model: nn.Module, *, trained: bool) -> list[str]:
    return [n for n, p in model.named_parameters() if p.requires_grad is trained]


def test_new_adapters_stand_at_every_linear_layer_of_a_block_and_change_nothing(base: Path):
    plain = whole(load("tiny", base, Recipe(storage_dtype=Dtype.BF16), 0))
    adapted = whole(load("tiny", base, LORA, 0))
    own = names_of(adapted, trained=True)
    assert all("lora_" in name for name in own)
    assert len(own) == 2 * 2 * 6  # A and B, two blocks, six layers: q, k, v, out, fc1, fc2
    assert not any("lora_" in name for name in names_of(adapted, trained=False))
    assert {p.dtype for p in adapted.parameters()} == {torch.bfloat16}
    assert torch.equal(logits(plain), logits(adapted))


def test_they_are_the_same_for_the_same_seed(base: Path):
    loads = (whole(load("m", base, LORA, seed)) for seed in (1, 1, 2))
    one, same, other = (dict(model.named_parameters()) for model in loads)
    assert all(torch.equal(p, same[n]) for n, p in one.items())
    assert any(not torch.equal(p, other[n]) for n, p in one.items())


def test_layers_that_hold_their_matrix_transposed_have_adapters_too(tmp_path: Path):
    tokenizer = ByT5Tokenizer(extra_ids=0)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert len(names_of(load("gpt2", tmp_path, LORA, 0).model, trained=True)) == 2 * 2 * 4


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of PEFT's names for things
def test_what_a_run_saves_is_adapters_that_peft_loads(base: Path, trained: Path):
    from peft import PeftModel

    saved = sorted(path.name for path in (trained / "model").glob("*.safetensors"))
    assert saved == ["adapter_model.safetensors"]
    plain: Any = AutoModelForCausalLM.from_pretrained(base)
    before = logits(plain)
    after = logits(PeftModel.from_pretrained(plain, str(trained / "model")))
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)


def test_adapters_of_a_folder_go_on(trained: Path, data: Path, tmp_path: Path):
    """What a run left is where the next one begins: what is first evaluated is what was last."""
    flags = ("--model", str(trained / "model"), "--data", str(data), *STEPS)
    outcome = call(run, *flags, "--out", str(tmp_path), "--json", "-")
    assert outcome.code == 0
    before = json.loads((trained / "summary.json").read_text())
    assert outcome.json["held_out_loss_before"] == before["held_out_loss_after"]
    assert outcome.json["weights_sha256"] != before["weights_sha256"]


def test_a_run_resumes_with_its_adapters(trained: Path, base: Path, data: Path, tmp_path: Path):
    flags = ("--model", str(base), "--data", str(data), *STEPS, "--schedule", "constant")
    out = ("--out", str(tmp_path / "half"), "--json", "-")
    assert call(run, *flags, "--steps", "2", *out).code == 0
    resumed = call(run, "--resume", "--steps", "3", "--no-report", *out)
    whole = call(run, *flags, "--out", str(tmp_path / "whole"), "--json", "-")
    assert resumed.json["weights_sha256"] == whole.json["weights_sha256"]


@pytest.mark.parametrize("trainable", ["all", "lora:3"])
def test_adapters_that_the_recipe_does_not_train_are_refused(trainable: str, trained: Path):
    with pytest.raises(
        ValueError, match=rf"adapters of rank 2: --trainable must be lora:2; got {trainable}"
    ):
        load("m", trained / "model", Recipe(trainable=trainable), 0)


def test_adapters_that_do_not_say_whose_they_are_are_refused(trained: Path, tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": null}')
    with pytest.raises(ValueError, match="must name the model that its adapters belong to"):
        load("m", tmp_path, LORA, 0)


def test_adapters_without_weights_are_refused_before_anything_is_asked_for(
    trained: Path, tmp_path: Path
):
    (tmp_path / CONFIG).write_bytes((trained / "model" / CONFIG).read_bytes())
    with pytest.raises(ValueError, match=rf"adapter_model.bin; {tmp_path} has neither"):
        load("m", tmp_path, LORA, 0)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of PEFT's names for things
def test_adapters_without_a_rank_are_refused(base: Path, tmp_path: Path):
    from peft import IA3Config, get_peft_model

    model: Any = AutoModelForCausalLM.from_pretrained(base)
    config = IA3Config(target_modules=["v_proj", "fc2"], feedforward_modules=["fc2"])
    get_peft_model(model, config).save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match=r"adapters that have a rank \(LoRA\); got IA3"):
        load("m", tmp_path, LORA, 0)


def test_their_model_may_lie_beside_them_and_have_the_tokenizer(
    base: Path, trained: Path, tmp_path: Path
):
    copytree(base, tmp_path / "its" / "model")
    for path in (trained / "model").glob("adapter_*"):
        copy(path, tmp_path)
    fields = json.loads((tmp_path / CONFIG).read_text())
    text = json.dumps(fields | {"base_model_name_or_path": "its/model"})
    (tmp_path / CONFIG).write_text(text)
    moved, there = load("m", tmp_path, LORA, 0), load("m", trained / "model", LORA, 0)
    assert torch.equal(logits(whole(moved)), logits(whole(there)))
    assert moved.tokenizer.get_vocab() == there.tokenizer.get_vocab()


_ASKED = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "huggingface_hub":
            sys.meta_path.remove(self)
            from huggingface_hub import constants
            os._exit(0 if constants.HF_HUB_OFFLINE else 1)

sys.meta_path.insert(0, Watch())
import experiments.run
sys.exit("it is not imported")
"""


def test_nothing_is_asked_of_a_hub():
    """The variable is read when it is imported, which another test may have done; no need to
    import what comes afterwards."""
    clean = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    subprocess.run([sys.executable, "-c", _ASKED], env=clean, check=True)
