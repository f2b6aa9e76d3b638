"""OPT (arXiv:2205.01068): learned positions, biases everywhere, ReLU; opt-350m is post-norm.

Shapes as in `transformers.OPTForCausalLM`.
"""

from zo2sim.models.config import parts
from zo2sim.models.config.fields import Fields
from zo2sim.models.config.parts import Part
from zo2sim.models.shapes import Attention, Model, Unit

_POSITION_OFFSET = 2  # rows of the position table that no position uses
_POSITION_KERNELS = 6  # ones, cumulative sum, product, difference, cast, offset


def build(fields: Fields) -> Model:
    """The model of an OPT config."""
    hidden, vocab = fields.count("hidden_size"), fields.count("vocab_size")
    positions = fields.count("max_position_embeddings")
    width = fields.optional_count("word_embed_proj_dim") or hidden
    tied = fields.flag("tie_word_embeddings", True)
    template = _block(fields, hidden)
    return Model(
        name=fields.name,
        family="opt",
        hidden=hidden,
        vocab=vocab,
        max_positions=positions,
        learned=True,
        head=_head(vocab, width, hidden, positions),
        blocks=parts.blocks(
            "model.decoder.layers", [template] * fields.layers("num_hidden_layers")
        ),
        tail=_tail(fields, vocab, width, hidden, tied),
    )


def _head(vocab: int, width: int, hidden: int, positions: int) -> Unit:
    embeddings = [
        parts.embedding("model.decoder.embed_tokens", vocab, width),
        parts.embedding("model.decoder.embed_positions", positions + _POSITION_OFFSET, hidden),
    ]
    if width != hidden:
        embeddings.append(parts.resident_linear("model.decoder.project_in", hidden, width))
    return parts.unit(*embeddings, parts.residual(hidden), parts.launches(_POSITION_KERNELS))


def _block(fields: Fields, hidden: int) -> Unit:
    """Pre-norm and post-norm blocks have the same parameters and the same work."""
    heads = fields.count("num_attention_heads")
    fields.must_divide(("hidden_size", hidden), ("num_attention_heads", heads))
    bias, affine = fields.flag("enable_bias", True), _affine(fields)
    fields.flag("do_layer_norm_before", True)
    ffn = fields.count("ffn_dim")
    kind = fields.choice("activation_function", parts.ACTIVATIONS, "relu")
    return parts.unit(
        *(parts.linear(f"self_attn.{p}_proj", hidden, hidden, bias=bias) for p in "kvq"),
        parts.scale(hidden),  # of the queries
        parts.linear("self_attn.out_proj", hidden, hidden, bias=bias),
        parts.residual(hidden),
        parts.layer_norm("self_attn_layer_norm", hidden, affine=affine),
        parts.linear("fc1", ffn, hidden, bias=bias),
        parts.activation(kind, ffn),
        parts.linear("fc2", hidden, ffn, bias=bias),
        parts.residual(hidden),
        parts.layer_norm("final_layer_norm", hidden, affine=affine),
        attention=Attention(heads=heads, kv_heads=heads, head_dim=hidden // heads),
    )


def _tail(fields: Fields, vocab: int, width: int, hidden: int, tied: bool) -> Unit:
    layers: list[Part] = []
    removed = fields.flag("_remove_final_layer_norm", False)
    if fields.flag("do_layer_norm_before", True) and not removed:
        name = "model.decoder.final_layer_norm"
        layers.append(parts.layer_norm(name, hidden, affine=_affine(fields)))
    if width != hidden:
        layers.append(parts.resident_linear("model.decoder.project_out", width, hidden))
    return parts.unit(
        *layers, parts.lm_head(vocab, width, tied_to="model.decoder.embed_tokens" if tied else None)
    )


def _affine(fields: Fields) -> bool:
    return fields.flag("layer_norm_elementwise_affine", True)
