"""Adapters without PEFT: a frozen linear layer with two small ones beside it."""

import torch
from torch import Tensor, nn

from zo2rt.model.discovery import find_blocks


class Adapted(nn.Module):
    """A frozen linear layer with an adapter beside it.

    Its weight keeps its name, and is encoded where blocks are in an integer format.
    """

    def __init__(self, base: nn.Linear, rank: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False, dtype=dtype)
        self.up = nn.Linear(rank, base.out_features, bias=False, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


def adapt(model: nn.Module, rank: int, dtype: torch.dtype) -> None:
    """Put adapters, which alone train, on every linear layer of a block."""
    model.requires_grad_(False)
    for block in find_blocks(model).modules:
        layers = [(n, m) for n, m in block.named_modules() if isinstance(m, nn.Linear)]
        for name, linear in layers:
            parent, _, own = name.rpartition(".")
            setattr(block.get_submodule(parent), own, Adapted(linear, rank, dtype))
