"""A tensor's memory as flat bytes, and the same tensor over other bytes.

A kernel may choose its way by strides and alignment, so what arrives on another device has those
that it had: one that was expanded is expanded again, and nothing of it is copied twice.
"""

from collections.abc import Callable

import torch
from torch import Tensor

ALIGNMENT_BYTES = 64
"""A tensor starts at the same place within so many bytes: a vector register's, a cache line's."""


def brought(tensor: Tensor, device: torch.device, copy: Callable[[Tensor, Tensor], None]) -> Tensor:
    """The tensor in new memory of a device; ``copy`` fills flat bytes with others."""
    if not tensor.numel() or tensor.layout is not torch.strided:
        return tensor.to(device, copy=True)
    lead = int(tensor.storage_offset()) % max(1, ALIGNMENT_BYTES // tensor.element_size())
    source = _extent(tensor, lead)
    target = torch.empty(len(source), dtype=torch.uint8, device=device)
    copy(target, source)
    flat = target.view(tensor.dtype)
    return flat.as_strided(tensor.shape, tensor.stride(), flat.storage_offset() + lead)


def _extent(tensor: Tensor, lead: int) -> Tensor:
    """Every byte from ``lead`` elements before a tensor's first to its last."""
    spans = zip(tensor.shape, tensor.stride(), strict=True)
    length = lead + 1 + sum((n - 1) * step for n, step in spans)
    flat = tensor.detach().as_strided((length,), (1,), tensor.storage_offset() - lead)
    return flat.view(torch.uint8)
