"""The model that `run` makes for itself: a small OPT over bytes, pre-trained for some seconds.

It reads fragments of code and prose as the built-in task has them, without their answers. Made
once per folder, from a seed of its own, so that every run of a given Python begins alike.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ByT5Tokenizer, OPTConfig, OPTForCausalLM

from experiments.cli import whole
from experiments.training.code_or_prose import FRAGMENT, Texts
from experiments.training.loaded_model import quieten
from zo2rt.data.examples import Example, batch_of, encode, end_of, pad_of
from zo2rt.data.pretrain import Pretraining, pretrain

NAME = "tiny"
PRETRAINING = Pretraining(steps=400, lr=3e-3, warmup_steps=20)
_BATCH = 32
_SEED = 0
_POSITIONS = 128


def make(folder: Path, texts: Texts) -> Iterator[float]:
    """Pre-train the model and save it and its tokenizer in ``folder``; yields every step's loss.

    The folder appears when it is whole.
    """
    quieten()
    tokenizer = ByT5Tokenizer(extra_ids=0)
    model = _untrained(tokenizer)
    batches = _batches(texts.training, tokenizer)
    yield from pretrain(model, lambda _: next(batches), PRETRAINING)
    with whole(folder) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)


def described() -> dict[str, Any]:
    """The fields of its config.json, before there is one."""
    return _config(ByT5Tokenizer(extra_ids=0)).to_dict()


def _config(tokenizer: ByT5Tokenizer) -> OPTConfig:
    return OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        word_embed_proj_dim=64,
        ffn_dim=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=_POSITIONS,
        dropout=0.0,
        pad_token_id=pad_of(tokenizer),
        bos_token_id=end_of(tokenizer),
        eos_token_id=end_of(tokenizer),
    )


def _untrained(tokenizer: ByT5Tokenizer) -> OPTForCausalLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return OPTForCausalLM(_config(tokenizer))


def _batches(texts: Texts, tokenizer: ByT5Tokenizer) -> Iterator[Mapping[str, Tensor]]:
    rows = [
        encode(tokenizer, Example(completion=text), FRAGMENT)[0]
        for text, _ in texts.fragments(PRETRAINING.steps * _BATCH, seed=_SEED)
    ]
    for first in range(0, len(rows), _BATCH):
        some = rows[first : first + _BATCH]
        yield batch_of(some, sequence=FRAGMENT, pad=pad_of(tokenizer))
