"""An encoder of sentences with a prototype per class, and adapters beside its blocks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from experiments.accuracy.paragraphs import Labelled
from experiments.training.adapters import added

_SHARPNESS = 10.0
"""Logits are so many times a cosine with a prototype, which is of length 1 to begin with."""
_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}

Batch = Mapping[str, Tensor]


class Classifier(nn.Module):
    """Logits are the mean of the tokens' hidden states, normalised, times each class's prototype.

    Prototypes train too. They begin as the mean of what the base makes of a few examples, as in
    prototypical networks (Snell et al., arXiv:1703.05175).
    """

    def __init__(self, encoder: Any, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.prototypes = nn.Parameter(torch.zeros(num_classes, encoder.config.hidden_size))

    def embedded(self, batch: Batch) -> Tensor:
        """(rows, hidden)."""
        mask = batch["attention_mask"]
        hidden = self.encoder(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
        kept = mask[..., None].to(hidden.dtype)
        return functional.normalize((hidden * kept).sum(1) / kept.sum(1), dim=1)

    def forward(self, batch: Batch) -> Tensor:
        return _SHARPNESS * self.embedded(batch) @ self.prototypes.T


def loaded(folder: Path, examples: Batch, num_classes: int) -> Classifier:
    """The encoder of a folder, in fp32, with prototypes of the examples."""
    encoder: Any = AutoModel.from_pretrained(folder, add_pooling_layer=False, **_LOCAL)
    model = Classifier(encoder.eval(), num_classes).eval()
    with torch.no_grad():
        found, labels = model.embedded(examples), examples["labels"]
        means = torch.stack([found[labels == label].mean(0) for label in range(num_classes)])
        model.prototypes.copy_(functional.normalize(means, dim=1))
    return model


def adapted(model: Classifier, rank: int, seed: int) -> Classifier:
    """With new adapters of the encoder's blocks, which train with the prototypes alone."""
    model.encoder = added(model.encoder, rank, seed, task="FEATURE_EXTRACTION")
    return model.eval()


def loss(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch), batch["labels"])


def hits(model: nn.Module, batch: Batch) -> Tensor:
    """The share of rows whose largest logit is the right one."""
    return (model(batch).argmax(1) == batch["labels"]).to(torch.float32).mean()


class Tokens:
    """Rows of text as batches of so many tokens each, cut or filled."""

    def __init__(self, folder: Path, sequence: int) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, **_LOCAL)
        self._sequence = sequence

    def batch(self, rows: Sequence[Labelled]) -> dict[str, Tensor]:
        found = self._tokenizer(
            [text for text, _ in rows],
            padding="max_length",
            truncation=True,
            max_length=self._sequence,
            return_tensors="pt",
        )
        labels = torch.tensor([label for _, label in rows])
        return {k: found[k] for k in ("input_ids", "attention_mask")} | {"labels": labels}
