"""Models of any size within seconds: a short random pattern, over and over, in place of weights.

What a step takes does not depend on the values, as long as they are as random as those of real
weights: constant ones draw less power.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from zo2rt.measure.adapted import adapt
from zo2rt.measure.runs import RunSpec
from zo2rt.model.codec import TORCH_DTYPES

_PATTERN = 1 << 20
_STD = 0.02


def synthetic_model(spec: RunSpec) -> Any:
    """What runs, in eval mode; with adapters on every linear layer of a block if they train.

    For families whose modules keep nothing but parameters, such as OPT.
    """
    fields, dtype = dict(spec.config), TORCH_DTYPES[spec.recipe.plain_dtype]
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
    model = model.to(dtype).to_empty(device="cpu")
    model.tie_weights()
    pattern = _STD * torch.randn(_PATTERN, generator=torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        _fill(name, parameter.data, pattern.to(dtype))
    if spec.recipe.lora_rank is not None:
        adapt(model, spec.recipe.lora_rank, dtype)
    return model.eval()


def _fill(name: str, weights: Tensor, pattern: Tensor) -> None:
    if weights.dim() < 2:
        weights.fill_(1.0 if name.endswith("norm.weight") else 0.0)
        return
    for piece in weights.view(-1).split(_PATTERN):
        piece.copy_(pattern[: piece.numel()])
