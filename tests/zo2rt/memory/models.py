"""Models of six kinds with random fp32 weights, from tiny ones to some of hundreds of megabytes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from zo2rt.tracing.tracing import trace
from zo2sim.models.config import from_config, unread
from zo2sim.models.shapes import Model

HEADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """``wide`` is the width of a feed-forward, or of one expert."""

    hidden: int
    wide: int
    blocks: int
    vocab: int


TINY = Size(hidden=32, wide=48, blocks=3, vocab=64)


def _opt(size: Size) -> PreTrainedModel:
    sizes: dict[str, Any] = _sizes(size) | {
        "ffn_dim": size.wide,
        "word_embed_proj_dim": size.hidden,
    }
    return OPTForCausalLM(OPTConfig(**sizes))


def _gpt2(size: Size) -> PreTrainedModel:
    sizes: dict[str, Any] = {"n_embd": size.hidden, "n_inner": size.wide, "n_layer": size.blocks}
    sizes["n_head"] = HEADS
    return GPT2LMHeadModel(GPT2Config(vocab_size=size.vocab, n_positions=64, **sizes))


def _t5(size: Size) -> PreTrainedModel:
    """As many blocks read as write."""
    sizes: dict[str, Any] = {"d_model": size.hidden, "d_ff": size.wide, "num_heads": HEADS}
    ends: dict[str, Any] = {"num_layers": size.blocks, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=size.vocab, d_kv=size.hidden // HEADS, **sizes, **ends)
    return T5ForConditionalGeneration(config)


def _gated(size: Size) -> dict[str, Any]:
    return _sizes(size) | {"intermediate_size": size.wide, "num_key_value_heads": HEADS}


def _sizes(size: Size) -> dict[str, Any]:
    return {
        "vocab_size": size.vocab,
        "hidden_size": size.hidden,
        "num_hidden_layers": size.blocks,
        "num_attention_heads": HEADS,
        "max_position_embeddings": 64,
    }


def _qwen3(size: Size) -> PreTrainedModel:
    head_dim = size.hidden // HEADS
    return Qwen3ForCausalLM(
        Qwen3Config(**_gated(size), head_dim=head_dim, tie_word_embeddings=True)
    )


def _mixtral(size: Size) -> PreTrainedModel:
    routed: dict[str, Any] = {"num_local_experts": 8, "num_experts_per_tok": 2}
    return MixtralForCausalLM(MixtralConfig(**_gated(size), **routed))


KINDS: dict[str, tuple[Callable[[Size], PreTrainedModel], Size]] = {
    "opt": (_opt, Size(hidden=1024, wide=4096, blocks=7, vocab=8192)),
    "llama": (
        lambda size: LlamaForCausalLM(LlamaConfig(**_gated(size))),
        Size(hidden=1024, wide=4096, blocks=7, vocab=64),
    ),
    "gpt2": (_gpt2, Size(hidden=1024, wide=4096, blocks=7, vocab=50257)),
    "qwen3": (_qwen3, Size(hidden=1024, wide=3072, blocks=7, vocab=16384)),
    "mixtral": (_mixtral, Size(hidden=512, wide=1024, blocks=7, vocab=8192)),
    "t5": (_t5, Size(hidden=768, wide=3072, blocks=5, vocab=8192)),
}
"""How a kind is built, and the size at which it is measured."""


def smaller(size: Size) -> Size:
    """About half the weights, in matrices that still are too large to be kept when freed."""
    return replace(size, wide=size.hidden, vocab=min(size.vocab, 2048))


def described(model: PreTrainedModel, kind: str) -> Model:
    """Its shapes, as a plan has them: from the config where a reader knows it, else traced."""
    config = model.config.to_dict()
    return trace(config, name=kind) if unread(config) else from_config(config, name=kind)
