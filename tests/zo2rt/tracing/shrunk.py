"""A config's small copy: all that makes its class what it is, at a size that runs anywhere.

Widths, numbers of heads, layers, experts and words are small; patterns of layers, kinds of
attention, norms, biases and routing stay.
"""

import math
from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig

from tests.zo2rt.tracing.configs import Config
from zo2rt.tracing.building import _cleaned

VOCAB = 96
FIRST_SPECIAL = 80
"""Words from here on may stand for an end, padding or an image."""
HEAD, HEADS, WINDOW, POSITIONS = 16, 4, 64, 512

_AT_MOST: Mapping[str, int] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "out_hidden_size", "embed_dim"), HEAD * HEADS
    ),
    **dict.fromkeys(("pooler_hidden_size", "pooler_output_size"), HEAD * HEADS),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "ffn_hidden_size", "n_inner"), 112),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "intermediate_size_mlp"), 112),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 48),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), HEADS),
    **dict.fromkeys(("attention_heads", "linear_num_value_heads"), HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), HEADS),
    **dict.fromkeys(("head_dim", "d_kv", "global_head_dim", "qk_nope_head_dim"), HEAD),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), HEAD),
    **dict.fromkeys(("qk_rope_head_dim", "rotary_dim", "state_size"), HEAD // 2),
    **dict.fromkeys(("n_routed_experts", "num_experts", "num_local_experts"), 8),
    **dict.fromkeys(("num_experts_per_tok", "experts_per_token", "top_k_experts"), 2),
    **dict.fromkeys(("n_group", "linear_num_key_heads"), 2),
    **dict.fromkeys(("topk_group", "first_k_dense_replace"), 1),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCAB),
    **dict.fromkeys(("sliding_window", "sliding_window_size", "attention_chunk_size"), WINDOW),
    **dict.fromkeys(("local_attention", "position_buckets"), WINDOW),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), POSITIONS),
    **{"max_target_positions": POSITIONS, "max_source_positions": 24},
    **{"num_position_embeddings": 16, "position_embedding_size": 64},
    **{"q_lora_rank": 32, "kv_lora_rank": 24, "v_head_dim": 20, "time_step_rank": 4},
    **{
        "image_size": 32,
        "chunk_size": 64,
        "mamba_chunk_size": 64,
        "mamba_d_ssm": HEAD * HEADS,
        "mamba_d_state": 8,
    },
}
_LAYERS = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"),
    *("encoder_layers", "decoder_layers", "depth"),
)
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "num_global_key_value_heads")
_GROUPS = ("n_groups", "mamba_n_groups", "mamba_ngroups")
_SSM = (
    ("num_heads", "head_dim", "expand"),
    ("mamba_n_heads", "mamba_d_head", "mamba_expand"),
    ("n_mamba_heads", "mamba_headdim", "mamba_expand"),
)
_FEWEST_LAYERS = 3
_SIDES: Mapping[str, Config] = {
    "vit": {"patch_size": 8},
    **{kind: {"image_size": 112, "embed_dim": 48} for kind in ("swin", "swinv2", "donut-swin")},
}
"""Of images: whole windows in every stage, and more patches than one."""


def shrunk(fields: Config) -> Config:
    """The small copy of what is in a config.json, defaults of its class included."""
    fields = _cleaned(fields, "it")
    model_type = fields.pop("model_type")
    whole = AutoConfig.for_model(model_type, **fields).to_dict()
    small = _small(_cleaned(whole, "it"), _Special())
    for key in ("out_features", "out_indices", "stage_names"):
        small.pop(key, None)  # by number of layers
    return (
        small
        | _SIDES.get(model_type, {})
        | {"architectures": fields["architectures"], "model_type": model_type}
    )


class _Special:
    """Numbers for special tokens, each another one."""

    def __init__(self) -> None:
        self._next = VOCAB

    def __call__(self, token: Any) -> Any:
        if isinstance(token, list):
            return [self(one) for one in token]
        if type(token) is not int or token < FIRST_SPECIAL:
            return token
        self._next = max(FIRST_SPECIAL, self._next - 1)
        return self._next


def _small(fields: Config, special: _Special) -> Config:
    before = next((fields[key] for key in _LAYERS if isinstance(fields.get(key), int)), 0)
    layers = _num_layers(fields, before)
    found = {key: _field(key, value, fields, special) for key, value in fields.items()}
    for key, value in found.items():
        if key in _LAYERS and isinstance(value, int):
            found[key] = min(value, layers)
        elif isinstance(value, list) and len(value) == before:
            found[key] = value[:layers]
        elif key == "per_layer_config" and isinstance(value, dict):
            found[key] = {at: own for at, own in value.items() if int(at) < layers}
    if isinstance(found.get("max_window_layers"), int):
        found["max_window_layers"] = min(found["max_window_layers"], layers)
    return found | _state_space(found)


def _state_space(found: Config) -> Config:
    """Mamba's heads, as wide together as what a layer is expanded to."""
    changed: Config = {key: min(found[key], 2) for key in _GROUPS if found.get(key)}
    for heads, width, expand in _SSM:
        if found.get(heads) and expand in found and width in found:
            inner = found.get("mamba_d_ssm") or int(found["hidden_size"] * found[expand])
            changed |= {heads: HEADS, width: inner // HEADS}
    return changed


def _num_layers(fields: Config, before: int) -> int:
    """So many that there is one of each kind; a list of numbers of layers has no kinds."""
    kinds = [one for one in fields.values() if isinstance(one, list) and len(one) == before]
    firsts = [one.index(kind) for one in kinds if len({*map(str, one)}) < before for kind in one]
    return min(before, max(_FEWEST_LAYERS, *(first + 1 for first in firsts), 0))


def _field(key: Any, value: Any, fields: Config, special: _Special) -> Any:
    if not isinstance(key, str):
        return value
    if key == "per_layer_config" and isinstance(value, Mapping):
        return {at: _small(dict(own), special) for at, own in value.items()}
    if key == "head_dim" and fields.get("qk_rope_head_dim"):
        return _AT_MOST["qk_rope_head_dim"]
    if isinstance(value, Mapping):
        if key.startswith("rope"):
            return _rope(dict(value), fields)
        return _small(dict(value), special)
    if key.endswith(("_token_id", "_token_index")):
        return special(value)
    if key in _KV_HEADS and isinstance(value, int):
        all_heads = value >= fields.get("num_attention_heads", value)
        return min(value, HEADS if all_heads else 2)
    if key == "deepstack_visual_indexes":
        return [*range(len(value))]
    if key in _AT_MOST and type(value) is int:
        return min(value, _AT_MOST[key])
    return value


def _rope(value: Config, fields: Config) -> Config:
    """Lists have an entry for every pair of a head's numbers that are turned."""
    if any(isinstance(one, Mapping) for one in value.values()):
        return {k: _rope(v, fields) if isinstance(v, dict) else v for k, v in value.items()}
    part = value.get("partial_rotary_factor", fields.get("partial_rotary_factor")) or 1.0
    pairs = int((HEAD // 2 if fields.get("qk_rope_head_dim") else HEAD) * part) // 2
    found: Config = {}
    for key, one in value.items():
        if key == "mrope_section":
            share = [math.ceil(n * pairs / sum(one)) for n in one]
            one = [share[0], share[1], pairs - share[0] - share[1]]
        elif isinstance(one, list):
            one = one[:pairs]
        elif key == "original_max_position_embeddings":
            one = POSITIONS // 2
        found[key] = one
    return found
