"""Which place an address belongs to: buffers as allocated, and the parts that were named."""

from collections.abc import Hashable, Iterable
from typing import NamedTuple

import torch


class _Region(NamedTuple):
    start: int
    end: int
    place: Hashable


class Regions:
    """Buffers and their named parts. A tensor is in every named part that it overlaps, or, where
    it overlaps none, in its buffer."""

    def __init__(self) -> None:
        self._named: list[_Region] = []
        self._allocated: list[_Region] = []

    def allocated(self, buffer: torch.Tensor, kind: str) -> torch.Tensor:
        """Watch a whole buffer, as ``device buffer 3``; returns it."""
        place = f"{kind} buffer {len(self._allocated)}"
        self._allocated.append(_Region(*extent(buffer), place))
        return buffer

    def add(self, tensor: torch.Tensor, place: Hashable) -> None:
        """Watch the bytes of a tensor under a name."""
        self._named.append(_Region(*extent(tensor), place))

    def places(self, tensors: Iterable[torch.Tensor]) -> tuple[Hashable, ...]:
        """Every place that any of the tensors overlaps, once."""
        return tuple(dict.fromkeys(place for t in tensors for place in self._of(t)))

    def _of(self, tensor: torch.Tensor) -> list[Hashable]:
        start, end = extent(tensor)
        for regions in (self._named, self._allocated):
            found = [r.place for r in regions if start < r.end and r.start < end]
            if found:
                return found
        return []


def extent(tensor: torch.Tensor) -> tuple[int, int]:
    """Addresses of the first byte and past the last byte of a strided tensor."""
    if tensor.numel() == 0:
        return tensor.data_ptr(), tensor.data_ptr()
    span = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (span + 1) * tensor.element_size()
