"""A tensor that is on disk: what it is, and how it comes into memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """``read`` gives a tensor of its own, of this shape and dtype, anew at every call.

    ``files`` are those that it is read from.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    files: tuple[Path, ...]
    read: Callable[[], Tensor]

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def empty(self) -> Tensor:
        """Its shape and dtype alone."""
        return torch.empty(self.shape, dtype=self.dtype, device="meta")


Tensors = Mapping[str, Stored]
"""Of a folder, by name."""
