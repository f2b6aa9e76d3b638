"""Tiny configs of many kinds of models, and the real models that transformers makes of them."""

from functools import cache
from typing import Any

import transformers
from transformers import AutoConfig, PreTrainedModel

from zo2rt.tracing.tracing import trace
from zo2sim.models.shapes import Model

Config = dict[str, Any]

_SIZES: Config = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _decoder(model_type: str, architecture: str, **more: Any) -> Config:
    return _SIZES | {"model_type": model_type, "architectures": [architecture]} | more


_ROUTED: Config = {"moe_intermediate_size": 48, "num_experts": 8, "num_experts_per_tok": 2}

_TWO_STACKS: Config = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 112,
    "decoder_ffn_dim": 112,
}

CONFIGS: dict[str, Config] = {
    "bert": _decoder("bert", "BertForMaskedLM"),
    "roberta": _decoder("roberta", "RobertaForMaskedLM", max_position_embeddings=514),
    "bloom": _decoder("bloom", "BloomForCausalLM", n_layer=3, n_head=4),
    "falcon": _decoder("falcon", "FalconForCausalLM", multi_query=True, alibi=False),
    "phi3": _decoder("phi3", "Phi3ForCausalLM", sliding_window=64),
    "gemma3": _decoder("gemma3_text", "Gemma3ForCausalLM", head_dim=16, sliding_window=64),
    "modernbert": _decoder("modernbert", "ModernBertForMaskedLM", local_attention=64),
    "gpt-oss": _decoder(
        "gpt_oss",
        "GptOssForCausalLM",
        sliding_window=32,
        num_local_experts=4,
        num_experts_per_tok=2,
    ),
    "qwen3-moe": _decoder(
        "qwen3_moe", "Qwen3MoeForCausalLM", head_dim=16, mlp_only_layers=[0], **_ROUTED
    ),
    "deepseek": _decoder(
        "deepseek_v3",
        "DeepseekV3ForCausalLM",
        q_lora_rank=32,
        kv_lora_rank=24,
        qk_nope_head_dim=16,
        qk_rope_head_dim=8,
        v_head_dim=20,
        num_key_value_heads=4,
        first_k_dense_replace=1,
        moe_intermediate_size=48,
        n_routed_experts=8,
        n_group=2,
        topk_group=1,
        num_experts_per_tok=2,
    ),
    "qwen3.5": _decoder(
        "qwen3_5_text",
        "Qwen3_5ForCausalLM",
        head_dim=16,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
    ),
    "mamba": _decoder(
        "mamba",
        "MambaForCausalLM",
        num_hidden_layers=1,
        state_size=8,
        expand=2,
        time_step_rank=4,
    ),
    "mamba2": _decoder(
        "mamba2",
        "Mamba2ForCausalLM",
        state_size=8,
        expand=2,
        num_heads=8,
        head_dim=16,
        n_groups=2,
        chunk_size=128,
    ),
    "deberta": _decoder(
        "deberta-v2",
        "DebertaV2ForSequenceClassification",
        relative_attention=True,
        position_buckets=32,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
    ),
    "t5": {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "vocab_size": 96,
        "d_model": 64,
        "d_kv": 16,
        "d_ff": 112,
        "num_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 0,
    },
    "switch": {
        "model_type": "switch_transformers",
        "architectures": ["SwitchTransformersForConditionalGeneration"],
        "vocab_size": 96,
        "d_model": 64,
        "d_kv": 16,
        "d_ff": 112,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_sparse_encoder_layers": 1,
        "num_sparse_decoder_layers": 1,
        "num_heads": 4,
        "num_experts": 6,
        "decoder_start_token_id": 0,
    },
    "whisper": _TWO_STACKS
    | {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "vocab_size": 96,
        "max_source_positions": 24,
        "max_target_positions": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
    },
    "cpmant": _decoder(
        "cpmant", "CpmAntForCausalLM", dim_head=16, dim_ff=112, prompt_length=32, prompt_types=4
    ),
    "bart": _SIZES
    | _TWO_STACKS
    | {
        "model_type": "bart",
        "architectures": ["BartForSequenceClassification"],
        "decoder_start_token_id": 2,
    },
    "longformer": _decoder("longformer", "LongformerForMaskedLM", attention_window=[32] * 3),
    "wav2vec2": _decoder(
        "wav2vec2",
        "Wav2Vec2ForCTC",
        conv_dim=[32, 32, 32],
        conv_kernel=[10, 3, 2],
        conv_stride=[5, 2, 2],
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    ),
    "clip": {
        "model_type": "clip",
        "architectures": ["CLIPForImageClassification"],
        "vision_config": _SIZES | {"num_hidden_layers": 2, "image_size": 32, "patch_size": 8},
        "text_config": _SIZES | {"num_hidden_layers": 2, "projection_dim": 64},
        "projection_dim": 64,
    },
    "vit": _decoder("vit", "ViTForImageClassification", image_size=32, patch_size=8),
}


def real(case: str) -> PreTrainedModel:
    """`model_of` one of these."""
    return model_of(CONFIGS[case])


@cache
def traced(case: str) -> Model:
    """What is traced of one of these."""
    return trace(CONFIGS[case], name="it")


def model_of(config: Config) -> PreTrainedModel:
    """The class that the config names, with random weights, and every product in sight."""
    fields = {k: v for k, v in config.items() if k != "model_type"}
    made = AutoConfig.for_model(config["model_type"], **fields)
    made._experts_implementation = "eager"
    kind = getattr(transformers, config["architectures"][0])
    if kind.config_class is made.sub_configs.get("text_config"):
        made = made.get_text_config()
    return kind._from_config(made, attn_implementation="eager").eval()
