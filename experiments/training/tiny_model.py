"""The model that `run` makes for itself: a small OPT over bytes, pre-trained for some seconds.

It reads fragments of code and prose as the built-in task has them, without their answers, from a
seed of its own and on one thread, so that every run of a given Python begins alike. What was made
is kept in the user's cache for the next run.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ByT5Tokenizer, OPTConfig, OPTForCausalLM

from experiments.cli import whole
from experiments.training.code_or_prose import FRAGMENT, Texts
from experiments.training.loaded_model import quieten
from zo2rt.backends.process import intra_op_threads
from zo2rt.data.examples import Example, batch_of, encode, end_of, pad_of
from zo2rt.data.pretrain import Pretraining, pretrain

NAME = "tiny"
PRETRAINING = Pretraining(steps=400, lr=3e-3, warmup_steps=20)
_BATCH = 32
_THREADS = 1
_SEED = 0
_POSITIONS = 128


def obtain(folder: Path, texts: Texts) -> Iterator[float]:
    """The model and its tokenizer in ``folder``; yields the loss of every step that is made.

    None is made where an earlier run has. Where nothing can be kept, it is made in the folder.
    """
    cache = _cache()
    if cache is None:
        yield from make(folder, texts)
        return
    kept = cache / f"{NAME}-{_digest(texts)}"
    if not kept.is_dir():
        yield from make(kept, texts)
    with whole(folder) as partial:
        shutil.copytree(kept, partial)


def _cache() -> Path | None:
    """Where programs keep what they can make again (XDG Base Directory Specification); None where
    nothing can be written."""
    try:
        own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zo2sim"
        own.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: nobody knows the user's home
        return None
    return own if os.access(own, os.W_OK) else None


def _digest(texts: Texts) -> str:
    """Of everything that the model depends on."""
    made_of = (torch.__version__, PRETRAINING, _BATCH, _SEED, described(), texts.training)
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


def make(folder: Path, texts: Texts) -> Iterator[float]:
    """Pre-train the model and save it and its tokenizer in ``folder``; yields every step's loss.

    The folder appears when it is whole.
    """
    quieten()
    tokenizer = ByT5Tokenizer(extra_ids=0)
    model = _untrained(tokenizer)
    batches = _batches(texts.training, tokenizer)
    with intra_op_threads(_THREADS):
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
