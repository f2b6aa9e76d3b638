"""A model to be timed: OPT's shape with random weights, and one batch of tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import OPTConfig, OPTForCausalLM

from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Recipe

_POSITIONS = 2048
_OFFSET = 2  # OPT's positions start here
_FIRST_TOKEN = 3  # those before it are padding and the ends of a text


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Fine-tuning in fp32, one sequence per step. The default is OPT-125m (arXiv:2205.01068)."""

    num_blocks: int = 12
    hidden: int = 768
    ffn: int = 3072
    heads: int = 12
    vocab: int = 50272
    sequence: int = 64

    def model(self) -> nn.Module:
        """In eval mode; the same weights at every call."""
        torch.manual_seed(0)
        config = OPTConfig(
            vocab_size=self.vocab,
            hidden_size=self.hidden,
            num_hidden_layers=self.num_blocks,
            ffn_dim=self.ffn,
            num_attention_heads=self.heads,
            max_position_embeddings=_POSITIONS,
            word_embed_proj_dim=self.hidden,
        )
        return OPTForCausalLM(config).eval()

    def batch(self) -> dict[str, Tensor]:
        """One sequence of random tokens, which are their own labels."""
        drawn = torch.Generator().manual_seed(0)
        tokens = torch.randint(_FIRST_TOKEN, self.vocab, (1, self.sequence), generator=drawn)
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": tokens}

    @property
    def recipe(self) -> Recipe:
        fp32 = Dtype.FP32
        return Recipe(
            sequence=self.sequence, storage_dtype=fp32, wire_dtype=fp32, compute_dtype=fp32
        )

    @property
    def block_elements(self) -> int:
        """Weights of one block: attention, both linear layers, two norms, every bias."""
        attention = 4 * self.hidden * (self.hidden + 1)
        mlp = 2 * self.hidden * self.ffn + self.hidden + self.ffn
        return attention + mlp + 4 * self.hidden

    @property
    def streamed_bytes(self) -> int:
        """What a step copies per direction if no block is resident."""
        return 4 * self.num_blocks * self.block_elements

    @property
    def noise_elements(self) -> tuple[int, int]:
        """Weights of which a step builds W+ and W-, and those that it updates.

        The tied embedding is built twice, where it is read first and where it is read last.
        """
        embedding = self.vocab * self.hidden
        rest = (_POSITIONS + _OFFSET + 2) * self.hidden
        trained = self.num_blocks * self.block_elements + embedding + rest
        return trained + embedding, trained
