"""What a piece of work touches in fact: every tensor that PyTorch's operators read and write."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch._dynamo  # modes import it when first entered: two threads at once each find half of it
from torch.utils._python_dispatch import TorchDispatchMode

Report = Callable[[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]], None]

_SHAPE_ONLY = ("_like", "new_empty", "new_zeros", "new_ones", "new_full")


class TouchedTensors(TorchDispatchMode):
    """Reports (tensors read, tensors written) of every operator that runs inside, on this thread.

    Views and operators that look only at a tensor's shape read nothing. Kernels that PyTorch does
    not dispatch (numba, Triton, NumPy) are not seen: their callers report them.
    """

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        result = func(*args, **given)
        self._report(*_touched(func._schema, args, given))
        return result


def _touched(
    schema: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Tensors that a call reads, and those that it writes, by the operator's schema."""
    reads: list[torch.Tensor] = []
    writes: list[torch.Tensor] = []
    if schema.name.removeprefix("aten::").endswith(_SHAPE_ONLY):
        return (), ()
    for place, argument in enumerate(schema.arguments):
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        alias = argument.alias_info
        if alias is None:
            reads.extend(_tensors(value))
        elif alias.is_write:
            writes.extend(_tensors(value))
    return tuple(reads), tuple(writes)


def _tensors(value: object) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
