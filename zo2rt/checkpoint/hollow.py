"""A model without its weights, whose every parameter says of what shape and dtype it is.

[Note: hollow parameters] A hollow parameter is one NaN in host memory, seen from every index. So
it has a device, a shape and a dtype, which is what wrappers (PEFT) and planners look at, its
``data`` can be exchanged for weights and back, and it takes no memory. Whoever computes with one
gets NaN, whoever writes to it an error.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def hollow(shape: tuple[int, ...] | torch.Size, dtype: torch.dtype) -> Tensor:
    """See [Note: hollow parameters]."""
    value = torch.nan if dtype.is_floating_point else 0
    return torch.full((1,), value, dtype=dtype).expand(shape)


def hollow_out(model: nn.Module) -> Mapping[nn.Parameter, nn.Parameter]:
    """Exchange every parameter on the meta device for a hollow one; parameters that modules share
    stay shared. Returns, by the old one, the new one."""
    found: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for name, old in module._parameters.items():
            if old is not None and old.device.type == "meta":
                if old not in found:
                    empty = hollow(old.shape, old.dtype)
                    found[old] = nn.Parameter(empty, requires_grad=old.requires_grad)
                    found[old]._is_hf_initialized = True  # type: ignore[attr-defined]
                module._parameters[name] = found[old]
    return found
