"""The shortest script that a user of Hugging Face writes, as README has it, to its end."""

import re
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tests import ROOT
from tests.families import build
from tests.zo2rt.engine.test_trainer import Tokens, same, weights


def script() -> str:
    """README's, without its indentation."""
    text = (ROOT / "README.md").read_text()
    (found,) = re.findall(r"(?:^    .*\n|^\n)*?^    trainer\.train\(\).*\n", text, re.MULTILINE)
    return "\n".join(line.removeprefix("    ") for line in found.strip("\n").split("\n"))


def test_it_trains_without_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    model, before = build("opt"), build("opt")
    names = {"model": model, "data": Tokens(20)}
    assert 'TrainingArguments("out")' in script()  # all else as transformers has it
    exec(script(), names)
    trained = names["trainer"]
    assert trained.state.global_step == 9  # 3 epochs of 20 rows, 8 at a time
    assert all(entry["train_loss"] > 0 for entry in trained.state.log_history)
    assert not same(weights(model), weights(before))
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "checkpoint-9")
    assert same(weights(saved), weights(model))
