"""Tiny models with random weights, one per family, and batches for them."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from zo2rt.model.loss import model_loss
from zo2rt.model.units import Units, find_units

torch.set_num_threads(1)  # test processes share few cores, and threads that spin stall each other

VOCAB, HIDDEN, BLOCKS, SEQUENCE = 64, 32, 3, 8

_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_GATED: dict[str, Any] = {**_COMMON, "intermediate_size": 48, "num_key_value_heads": 2}


def _opt() -> nn.Module:
    return OPTForCausalLM(OPTConfig(**_COMMON, ffn_dim=48, word_embed_proj_dim=HIDDEN))


def _gpt2() -> nn.Module:
    sizes: dict[str, Any] = {"n_embd": HIDDEN, "n_layer": BLOCKS, "n_head": 4, "n_positions": 32}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCAB, **sizes, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    )


def _llama(*, tied: bool) -> nn.Module:
    return LlamaForCausalLM(LlamaConfig(**_GATED, tie_word_embeddings=tied))


def _mistral() -> nn.Module:
    return MistralForCausalLM(MistralConfig(**_GATED, sliding_window=4))


def _qwen2() -> nn.Module:
    return Qwen2ForCausalLM(Qwen2Config(**_GATED, tie_word_embeddings=True))


def _qwen3() -> nn.Module:
    return Qwen3ForCausalLM(Qwen3Config(**_GATED, head_dim=8))


def _gemma2() -> nn.Module:
    return Gemma2ForCausalLM(Gemma2Config(**_GATED, head_dim=8, sliding_window=4))


def _gpt_neox() -> nn.Module:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**_COMMON, intermediate_size=48))


def _mixtral() -> nn.Module:
    return MixtralForCausalLM(MixtralConfig(**_GATED, num_local_experts=4, num_experts_per_tok=2))


def _bert() -> nn.Module:
    return BertForSequenceClassification(BertConfig(**_COMMON, intermediate_size=48))


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "opt": _opt,
    "gpt2": _gpt2,
    "llama": lambda: _llama(tied=False),
    "llama-tied": lambda: _llama(tied=True),
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma2": _gemma2,
    "gpt-neox": _gpt_neox,
    "mixtral": _mixtral,
    "bert": _bert,
}


def build(family: str, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    """A family's model in eval mode, with weights large enough that every one matters.

    Each call gives a model of its own, and leaves PyTorch's generator where drawing it would.
    """
    model, generator = _drawn(family, dtype, seed)
    torch.set_rng_state(generator)
    return deepcopy(model)


@cache
def _drawn(family: str, dtype: torch.dtype, seed: int) -> tuple[nn.Module, Tensor]:
    """A model that nobody changes, and the generator's state after it was drawn."""
    torch.manual_seed(seed)
    model = FAMILIES[family]().to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 8)
    return model, torch.get_rng_state()


@cache
def found(family: str) -> tuple[nn.Module, Units]:
    """A model that no test changes, and its units."""
    model = build(family)
    return model, find_units(model, model_loss, batch(family))


def batch(family: str, *, seed: int = 0, rows: int = 2) -> dict[str, Tensor]:
    """Token numbers with labels; the second row starts with padding."""
    drawn = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, VOCAB, (rows, SEQUENCE), generator=drawn)
    mask = torch.ones_like(tokens)
    mask[1:, :2] = 0
    labels = torch.randint(0, 2, (rows,), generator=drawn) if family == "bert" else tokens
    return {"input_ids": tokens, "attention_mask": mask, "labels": labels}
