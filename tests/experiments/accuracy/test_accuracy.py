"""What narrow formats cost in accuracy: an honest split, paired runs, a figure and its words."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from experiments.accuracy import compared
from experiments.accuracy.compared import Score, difference
from experiments.accuracy.paragraphs import paragraphs, read_documents
from tests.commands import call
from zo2sim.dtypes import Dtype

pytestmark = [  # PEFT 0.21 with transformers 5.24
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning"),
]
PACKAGES = tuple(
    tuple((f"package {p} module {m} first", f"package {p} module {m} second") for m in range(12))
    for p in range(3)
)


def test_no_module_is_both_trained_on_and_judged_by():
    one = paragraphs(PACKAGES, training=60, held_out=40, seed=1)
    trained = {text.rpartition(" ")[0] for text, _ in one.training}
    judged = {text.rpartition(" ")[0] for text, _ in one.held_out}
    assert trained & judged == set()
    assert [sum(label == p for _, label in one.held_out) for p in range(3)] == [40, 40, 40]
    assert all(text.startswith(f"package {label} ") for text, label in one.training)
    assert one.sha256 != paragraphs(PACKAGES, training=60, held_out=40, seed=2).sha256


def test_paragraphs_are_those_of_docstrings():
    documents = read_documents("networkx")
    assert len(documents) >= 8
    assert all(60 <= len(line) < 400 and "\n" not in line for d in documents for line in d)
    with pytest.raises(ValueError, match="no_such_package must be installed with 8 documented"):
        read_documents("no_such_package")


def test_differences_are_paired_by_seed():
    after = {Dtype.FP32: (0.5, 0.9, 0.7), Dtype.INT4: (0.49, 0.89, 0.71)}
    scores = [
        Score(
            seed=seed,
            dtype=dtype,
            before=0.1,
            after=value,
            loss_before=1.0,
            loss_after=1.0,
            sha256="",
        )
        for dtype, values in after.items()
        for seed, value in enumerate(values)
    ]
    found = difference(scores, Dtype.INT4, Dtype.FP32)
    assert found.mean == pytest.approx(-0.01 / 3)
    assert found.standard_error == pytest.approx(0.02 / 3)
    assert difference(scores[::3], Dtype.INT4, Dtype.FP32).standard_error is None


def encoder(folder: Path) -> Path:
    """A tiny BERT that knows the words of the text above."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "package", "module", "first", "second"]
    numbers = {word: n for n, word in enumerate([*words, *map(str, range(12))])}
    known = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    known.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=known, **marks).save_pretrained(folder)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    BertModel(BertConfig(vocab_size=21, num_attention_heads=2, **sizes)).save_pretrained(folder)
    return folder


def test_a_run_compares_formats_and_leaves_a_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from experiments.accuracy import __main__ as command

    monkeypatch.setattr(command, "read_documents", lambda name: PACKAGES["ab".index(name)])
    monkeypatch.setattr(command, "PACKAGES", ("a", "b"))
    monkeypatch.setattr(compared, "_EACH", 40)
    sizes = ("--steps", "2", "--seeds", "2", "--held-out", "8", "--sequence", "8")
    out = tmp_path / "out"
    words = ("--model", str(encoder(tmp_path)), *sizes, "--lr", "0", "--no-report")
    ran = call(command, *words, "--out", str(out), "--json", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    runs = found["runs"]
    assert [(one["seed"], one["dtype"]) for one in runs] == [
        (0, "fp32"),
        (0, "int4"),
        (1, "fp32"),
        (1, "int4"),
    ]
    assert all(one["before"] == one["after"] for one in runs), "a rate of 0 trains nothing"
    assert runs[0]["sha256"] == runs[1]["sha256"] != runs[2]["sha256"]
    assert runs[0]["loss_before"] != runs[1]["loss_before"], "four bits round the base"
    said = [" ".join(line.split()) for line in ran.out.splitlines()]
    share, loss = f"{runs[1]['before']:.1%}", f"{runs[1]['loss_before']:.3f}"
    assert f"int4 0 {share} {share} {loss} {loss}" in said
    assert said[0].startswith(
        "which of 2 packages is a paragraph of documentation from? 8 held-out"
    )
    assert any(line.startswith("int4 beside fp32: ") and "standard error" in line for line in said)
    assert (out / "figures" / "accuracies.svg").stat().st_size > 1000
    report = json.loads((out / "report.json").read_text())
    assert "int4 is" in json.dumps(report)


def test_what_is_no_model_is_refused_before_anything_is_read(tmp_path: Path):
    from experiments.accuracy import __main__ as command

    ran = call(command, "--model", str(tmp_path))
    assert (ran.code, ran.out) == (2, "")
    assert "--model must be an encoder's folder" in ran.complaint
