"""Parameters while updates are pending: who reads one between two steps finds it up to date.

[Note: another class] A parameter cannot be watched, but its class can be exchanged, as PyTorch does
when it materialises lazy ones. A subclass of `Tensor` is asked before anything reads it
(https://docs.pytorch.org/docs/stable/notes/extending.html). Identity, names, ties and hooks stay.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

_PROPERTIES = (
    *("dtype", "device", "grad", "is_cpu", "is_cuda", "is_leaf", "is_meta", "is_sparse"),
    *("layout", "name", "ndim", "requires_grad", "shape"),
)
_METHODS = (
    "dim",
    "element_size",
    "is_contiguous",
    "is_floating_point",
    "nelement",
    "numel",
    "size",
)
_READS_NO_WEIGHT = frozenset(
    (
        *(getattr(Tensor, name).__get__ for name in _PROPERTIES),
        *(getattr(Tensor, name) for name in _METHODS),
    )
)
"""What schedules, optimizers and callbacks ask of every parameter in every step."""


class PendingUpdates:
    """Between `begin` and `end`, whatever reads one of the parameters calls ``apply`` first.

    ``apply`` must call `end`.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], apply: Callable[[], None]) -> None:
        self._parameters = [p for p in parameters if type(p) is nn.Parameter]
        self._applies = [apply]
        self._watched = _watched(self._applies)

    def begin(self) -> None:
        for parameter in self._parameters:
            parameter.__class__ = self._watched

    def end(self) -> None:
        """Parameters are as ever; a second call does nothing."""
        for parameter in self._parameters:
            parameter.__class__ = nn.Parameter

    def close(self) -> None:
        """End for good: whoever applied them is not kept, which a class in a circle would."""
        self.end()
        self._parameters.clear()
        self._applies.clear()


def _watched(applies: Sequence[Callable[[], None]]) -> type[nn.Parameter]:
    """See [Note: another class]."""

    def apply() -> None:
        for one in applies:
            one()

    class Watched(nn.Parameter):
        @classmethod
        def __torch_function__(
            cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func not in _READS_NO_WEIGHT:
                apply()
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))

        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            apply()  # or the copy would be watched too
            return deepcopy(self, memo)

    return Watched
