"""LLaMA and its relatives: RMS norms, rotary positions, grouped keys and values, gated MLP.

The families differ in a few facts each (`FAMILIES`); shapes and defaults as in transformers 5.
"""

from dataclasses import dataclass

from zo2sim.models.config import parts
from zo2sim.models.config.experts import mixture
from zo2sim.models.config.fields import Fields
from zo2sim.models.config.parts import Part
from zo2sim.models.shapes import Attention, Model, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What sets a family apart. Numbers and ``tied`` are the defaults of absent keys.

    ``configurable_bias`` and ``mlp_bias``: the keys attention_bias and mlp_bias count; ``qkv_bias``
    is always there. ``offset`` is Gemma's norm and scaled embedding, ``sandwich`` a norm on both
    sides of each layer.
    """

    tied: bool = False
    kv_heads: int | None = None
    head_dim: int | None = None
    window: int | None = None
    act_key: str = "hidden_act"
    act: str = "silu"
    configurable_bias: bool = False
    qkv_bias: bool = False
    mlp_bias: bool = False
    head_norms: bool = False
    offset: bool = False
    sandwich: bool = False
    experts: bool = False


_GELU = "gelu_pytorch_tanh"

FAMILIES = {
    "llama": Family(configurable_bias=True, mlp_bias=True),
    "mistral": Family(kv_heads=8, window=4096),
    "mixtral": Family(kv_heads=8, experts=True),
    "qwen2": Family(kv_heads=32, window=4096, qkv_bias=True),
    "qwen3": Family(
        kv_heads=32, head_dim=128, window=4096, configurable_bias=True, head_norms=True
    ),
    "gemma": Family(
        tied=True, kv_heads=16, head_dim=256, act=_GELU, configurable_bias=True, offset=True
    ),
    "gemma2": Family(
        tied=True,
        kv_heads=4,
        head_dim=256,
        window=4096,
        act_key="hidden_activation",
        act=_GELU,
        configurable_bias=True,
        offset=True,
        sandwich=True,
    ),
}
"""By ``model_type``."""


def build(fields: Fields) -> Model:
    """The model of a config of any of these families."""
    model_type = fields.choice("model_type", tuple(FAMILIES))
    family = FAMILIES[model_type]
    hidden, vocab = fields.count("hidden_size"), fields.count("vocab_size")
    tied = fields.flag("tie_word_embeddings", family.tied)
    attentions = _attentions(fields, model_type, family, hidden)
    template = {a: _block(fields, family, hidden, a) for a in set(attentions)}
    head_dim = attentions[0].head_dim
    return Model(
        name=fields.name,
        family=model_type,
        hidden=hidden,
        vocab=vocab,
        max_positions=fields.optional_count("max_position_embeddings"),
        head=_head(family, vocab, hidden, head_dim, len(template)),
        blocks=parts.blocks("model.layers", [template[a] for a in attentions]),
        tail=_tail(fields, family, vocab, hidden, tied),
        buffer_elements=head_dim + int(family.offset),  # inv_freq, its original; embed_scale
    )


def _attentions(
    fields: Fields, model_type: str, family: Family, hidden: int
) -> tuple[Attention, ...]:
    """The attention of each block; they differ in their windows only."""
    heads = fields.count("num_attention_heads")
    fields.must_divide(("hidden_size", hidden), ("num_attention_heads", heads))
    kv_heads = fields.optional_count("num_key_value_heads", family.kv_heads) or heads
    fields.must_divide(("num_attention_heads", heads), ("num_key_value_heads", kv_heads))
    head_dim = fields.optional_count("head_dim", family.head_dim) or hidden // heads
    fields.must_divide(("head_dim (rotary)", head_dim), ("2", 2))
    causal = not (family.offset and fields.optional_flag("use_bidirectional_attention", False))
    windows = _windows(fields, model_type, family)
    kinds = {
        w: Attention(heads=heads, kv_heads=kv_heads, head_dim=head_dim, causal=causal, window=w)
        for w in set(windows)
    }
    return tuple(kinds[w] for w in windows)


def _windows(fields: Fields, model_type: str, family: Family) -> tuple[int | None, ...]:
    """The sliding window of each block, None where a block attends to the whole sequence."""
    num_layers = fields.layers("num_hidden_layers")
    if model_type in ("llama", "gemma"):
        return (None,) * num_layers
    window = fields.optional_count("sliding_window", family.window)
    if model_type in ("mistral", "mixtral"):
        return (window,) * num_layers
    if model_type == "gemma2":
        slides = tuple(i % 2 == 0 for i in range(num_layers))
    else:
        window = window if fields.flag("use_sliding_window", False) else None
        first = fields.config.get("max_window_layers", 28)
        first = 0 if first == 0 and type(first) is int else fields.count("max_window_layers", 28)
        slides = tuple(i >= first for i in range(num_layers))
    kinds = fields.choices("layer_types", ("full_attention", "sliding_attention"), num_layers)
    if kinds is not None:
        slides = tuple(kind == "sliding_attention" for kind in kinds)
    return tuple(window if slide else None for slide in slides)


def _head(family: Family, vocab: int, hidden: int, head_dim: int, num_masks: int) -> Unit:
    return parts.unit(
        parts.embedding("model.embed_tokens", vocab, hidden),
        *((parts.scale(hidden),) if family.offset else ()),
        parts.rotary_table(head_dim),
        parts.launches(parts.POSITION_KERNELS + parts.MASK_KERNELS * num_masks),
    )


def _block(fields: Fields, family: Family, hidden: int, attention: Attention) -> Unit:
    norms = ["input_layernorm", "post_attention_layernorm"]
    if family.sandwich:
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    return parts.unit(
        *_attention_parts(fields, family, hidden, attention),
        parts.residual(hidden),
        *_mlp_parts(fields, family, hidden),
        parts.residual(hidden),
        *(parts.rms_norm(name, hidden, offset=family.offset) for name in norms),
        attention=attention,
    )


def _attention_parts(
    fields: Fields, family: Family, hidden: int, attention: Attention
) -> tuple[Part, ...]:
    """Projections, head norms and rotation; everything around the attention kernel."""
    bias = family.configurable_bias and fields.flag("attention_bias", False)
    heads = {"q": attention.heads, "k": attention.kv_heads, "v": attention.kv_heads}
    dim, normed = attention.head_dim, ("q", "k") if family.head_norms else ()
    return (
        *(
            parts.linear(f"self_attn.{p}_proj", n * dim, hidden, bias=bias or family.qkv_bias)
            for p, n in heads.items()
        ),
        parts.linear("self_attn.o_proj", hidden, attention.heads * dim, bias=bias),
        *(parts.rms_norm(f"self_attn.{p}_norm", dim, heads=heads[p]) for p in normed),
        parts.rotate(attention.heads, dim),
        parts.rotate(attention.kv_heads, dim),
    )


def _mlp_parts(fields: Fields, family: Family, hidden: int) -> tuple[Part, ...]:
    ffn = fields.count("intermediate_size")
    kind = fields.choice(family.act_key, parts.ACTIVATIONS, family.act)
    if family.experts:
        return (mixture(fields, hidden, ffn, kind),)
    bias = family.mlp_bias and fields.flag("mlp_bias", False)
    return (
        parts.linear("mlp.gate_proj", ffn, hidden, bias=bias),
        parts.linear("mlp.up_proj", ffn, hidden, bias=bias),
        parts.gate(kind, ffn),
        parts.linear("mlp.down_proj", hidden, ffn, bias=bias),
    )


def _tail(fields: Fields, family: Family, vocab: int, hidden: int, tied: bool) -> Unit:
    """Final norm and LM head; Gemma 2 caps its logits (division, tanh, product)."""
    capped = family.sandwich and fields.positive("final_logit_softcapping", 30.0) is not None
    return parts.unit(
        parts.rms_norm("model.norm", hidden, offset=family.offset),
        parts.lm_head(vocab, hidden, tied_to="model.embed_tokens" if tied else None),
        *((parts.scale(vocab),) * 3 if capped else ()),
    )
