"""A tiny causal language model over bytes, as a folder that commands can load."""

from pathlib import Path

import torch
from transformers import ByT5Tokenizer, OPTConfig, OPTForCausalLM

POSITIONS = 64


def save(folder: Path, *, seed: int = 0) -> Path:
    """Random weights; returns the folder, which holds model and tokenizer."""
    tokenizer = ByT5Tokenizer(extra_ids=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = OPTForCausalLM(
            OPTConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                word_embed_proj_dim=16,
                ffn_dim=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=POSITIONS,
                dropout=0.0,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=1,
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
