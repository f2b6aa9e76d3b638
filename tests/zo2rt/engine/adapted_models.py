"""Tiny models with frozen weights and adapters on every linear layer of a block, by PEFT."""

from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import nn

from tests.families import build

RANK = 2


def adapted(family: str, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A model of its own with adapters that change what it computes."""
    return deepcopy(_adapted(family)).to(dtype)


@cache
def _adapted(family: str) -> nn.Module:
    from peft import LoraConfig, get_peft_model  # takes seconds, and nothing else needs it

    model: Any = build(family)
    config = LoraConfig(
        r=RANK, target_modules="all-linear", lora_dropout=0.0, fan_in_fan_out=family == "gpt2"
    )
    torch.manual_seed(1)
    wrapped: Any = get_peft_model(model, config)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) / 8)
    return wrapped.eval()
