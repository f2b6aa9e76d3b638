"""A forward pass without arithmetic: weights and activations have shapes only.

Whole numbers are the exception. Positions and masks decide which way a model's code goes, so a
tensor of whole numbers or truth values that comes from the inputs has its values, on the host,
although the code believes that it is where the weights are. So has what is chosen among scores that
have no values: each in turn, as a router does whose experts get equal shares.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_META = torch.device("meta")
_HOST = torch.device("cpu")
_BY_VALUE = frozenset(("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"))
_MOST = 1 << 22
"""Elements of a mask that is made with its values."""


class Shadow(TorchDispatchMode):
    """Runs operators of host tensors, and of tensors without storage, and of both together.

    What meets a tensor without storage has none. An operator that ran before, on tensors like
    these, gives a tensor like that of then: loops over a sequence repeat few operators often.
    With ``masks``, ones have their values too: a mask that hides nothing, from which positions are
    counted. A model that is being built makes weights of ones.
    """

    def __init__(self, *, masks: bool = False) -> None:
        super().__init__()
        self._masks = masks
        self._known: dict[object, tuple[Any, ...]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if any(tensor.is_meta for tensor in tensors_of((args, kwargs))):
            if func.name() == "aten::index.Tensor":
                args = args[0], _numbered(args[1])
            if func.name() in _BY_VALUE:
                raise _by_value(func.name())
            if _writes_host(func, args):
                return args[0]
            if func.name() == "aten::_grouped_mm":  # without values known in bf16 only
                return torch.empty(
                    args[0].shape[0], args[1].shape[-1], dtype=args[0].dtype, device=_META
                )
            return _chosen(func, args, self._like_before(func, args, kwargs))
        if func.name() == "aten::histc":  # on the host known of fractions only
            return func(args[0].double(), *args[1:], **kwargs).to(args[0].dtype)
        if kwargs.get("device") == _META and self._keeps_values(func, args, kwargs):
            kwargs = _on(_HOST, kwargs)
        return func(*args, **kwargs)

    def _keeps_values(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """What is made of numbers or of host tensors, is whole itself, and of no great size."""
        if args and isinstance(args[0], (tuple, list)) and prod(args[0]) > _MOST:
            return False
        dtype = kwargs.get("dtype")
        if dtype is None:
            dtype = next((a.dtype for a in args if isinstance(a, Tensor)), None)
        if dtype is not None:
            return not dtype.is_floating_point and not dtype.is_complex
        name = getattr(func, "__name__", "")
        if name.startswith("arange"):
            return all(isinstance(n, int) for n in args)
        if name.startswith("full"):
            return isinstance(args[1], int)
        return self._masks and name.startswith("ones")

    def _like_before(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = None
        if not func.is_view and not func._schema.is_mutable:
            key = func, _key(args), _key((*kwargs.items(),))
            if key in self._known:
                shape, stride, dtype = self._known[key]
                return torch.empty_strided(shape, stride, dtype=dtype, device=_META)
        out = func(*_described(args), **_on(_META, _described(kwargs)))
        if key is not None and isinstance(out, Tensor):
            self._known[key] = out.shape, out.stride(), out.dtype
        return out


def _chosen(func: Any, args: tuple[Any, ...], out: Any) -> Any:
    """Of the largest scores, numbers in turn in place of numbers without values."""
    if func.name() == "aten::topk":
        scores, _, dim, *_ = (*args, -1)
        return out[0], _in_turn(out[1], scores.shape[dim], dim)
    if func.name() == "aten::argmax" and len(args) > 1 and args[1] is not None:
        return _in_turn(out, args[0].shape[args[1]], -1)
    return out


def _in_turn(numbers: Tensor, most: int, dim: int) -> Tensor:
    if numbers.numel() > _MOST or numbers.dim() == 0:
        return numbers
    shape = numbers.transpose(dim, -1).shape
    return (torch.arange(prod(shape)) % most).reshape(shape).transpose(dim, -1).contiguous()


def _by_value(what: str) -> RuntimeError:
    return RuntimeError(
        f"a value that is computed decides what runs next ({what}), and only shapes are known "
        "here; plan for a model of like size, whose shapes decide"
    )


def _numbered(at: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Where a mask has its values, the numbers of what it keeps: how many is a shape."""
    found = list[Tensor | None]()
    for one in at:
        if one is not None and one.dtype == torch.bool:
            if one.is_meta:
                raise _by_value("a mask")
            found += one.nonzero(as_tuple=True)
        else:
            found.append(one)
    return found


def _key(value: Any) -> object:
    """Equal for arguments that give results of equal shape."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype
    if isinstance(value, (tuple, list)):
        return tuple(map(_key, value))
    return type(value), value


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Every tensor in an operator's arguments or results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_of(item)
    elif isinstance(value, Mapping):
        yield from tensors_of((*value.values(),))


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value if value.is_meta else _without_values(value)
    if isinstance(value, (tuple, list)):
        return type(value)(map(_described, value))
    if isinstance(value, dict):
        return {key: _described(item) for key, item in value.items()}
    return value


def _without_values(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=_META)


def _on(device: torch.device, kwargs: dict[str, Any]) -> dict[str, Any]:
    return kwargs | {"device": device} if kwargs.get("device") is not None else kwargs


def _writes_host(func: Any, args: tuple[Any, ...]) -> bool:
    """An operator that changes a host tensor by one without storage: its values are lost."""
    target = args[0] if args and isinstance(args[0], Tensor) else None
    return target is not None and not target.is_meta and func._schema.is_mutable
