"""Weights come and go under a model's parameters; the parameters themselves stay.

Only ``Parameter.data`` is exchanged, so identity, names, ties, ``requires_grad`` and hooks of the
model are untouched, and a parameter that two modules share changes in both.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from zo2rt.model.units import UnitParameter


@contextmanager
def bound(parameters: Iterable[UnitParameter], tensors: Iterable[Tensor]) -> Iterator[None]:
    """Inside, the parameters have these tensors as their values; afterwards those from before.

    Restores after an error too, also one in the middle of binding. Raises ``ValueError`` when a
    tensor has another shape than its parameter.
    """
    pairs = tuple(zip(parameters, tensors, strict=True))
    for parameter, tensor in pairs:
        if tuple(tensor.shape) != parameter.shape:
            raise ValueError(
                f"{parameter.name} must be bound to a tensor of shape {parameter.shape}; "
                f"got {tuple(tensor.shape)}"
            )
    before: list[tuple[UnitParameter, Tensor]] = []
    try:
        for parameter, tensor in pairs:
            before.append((parameter, parameter.tensor.data))
            parameter.tensor.data = tensor
        _forget_casts()
        yield
    finally:
        for parameter, tensor in reversed(before):
            parameter.tensor.data = tensor
        _forget_casts()


def _forget_casts() -> None:
    """Autocast keeps the low-precision copy of a parameter, and knows it by identity alone.

    Without this, W- would be computed with the copy made of W+.
    """
    torch.clear_autocast_cache()
