"""GPT-2, and GPT-3 by its published sizes: fused QKV, weights stored as (in, out).

Shapes as in `transformers.GPT2LMHeadModel`.
"""

from zo2sim.models.config import parts
from zo2sim.models.config.fields import Fields
from zo2sim.models.shapes import Attention, Model, Unit


def build(fields: Fields) -> Model:
    """The model of a GPT-2 config."""
    if fields.flag("add_cross_attention", False):
        raise ValueError(
            f"{fields.name}: add_cross_attention must be false (decoders only); got true"
        )
    hidden, vocab = fields.count("n_embd"), fields.count("vocab_size")
    positions, tied = fields.count("n_positions"), fields.flag("tie_word_embeddings", True)
    return Model(
        name=fields.name,
        family="gpt2",
        hidden=hidden,
        vocab=vocab,
        max_positions=positions,
        learned=True,
        head=_head(vocab, hidden, positions),
        blocks=parts.blocks("transformer.h", [_block(fields, hidden)] * fields.layers("n_layer")),
        tail=_tail(vocab, hidden, tied),
    )


def _head(vocab: int, hidden: int, positions: int) -> Unit:
    return parts.unit(
        parts.embedding("transformer.wte", vocab, hidden),
        parts.embedding("transformer.wpe", positions, hidden),
        parts.residual(hidden),
        parts.launches(parts.POSITION_KERNELS + parts.MASK_KERNELS),
    )


def _block(fields: Fields, hidden: int) -> Unit:
    heads = fields.count("n_head")
    fields.must_divide(("n_embd", hidden), ("n_head", heads))
    inner = fields.optional_count("n_inner") or 4 * hidden
    kind = fields.choice("activation_function", parts.ACTIVATIONS, "gelu_new")
    return parts.unit(
        parts.layer_norm("ln_1", hidden),
        parts.linear("attn.c_attn", 3 * hidden, hidden, bias=True, transposed=True),
        parts.linear("attn.c_proj", hidden, hidden, bias=True, transposed=True),
        parts.residual(hidden),
        parts.layer_norm("ln_2", hidden),
        parts.linear("mlp.c_fc", inner, hidden, bias=True, transposed=True),
        parts.activation(kind, inner),
        parts.linear("mlp.c_proj", hidden, inner, bias=True, transposed=True),
        parts.residual(hidden),
        attention=Attention(heads=heads, kv_heads=heads, head_dim=hidden // heads),
    )


def _tail(vocab: int, hidden: int, tied: bool) -> Unit:
    return parts.unit(
        parts.layer_norm("transformer.ln_f", hidden),
        parts.lm_head(vocab, hidden, tied_to="transformer.wte" if tied else None),
    )
