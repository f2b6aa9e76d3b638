"""Tensors that are made when they are written; what is computed of them before is computed then.

transformers renames, splits and fuses the tensors of a model on their way into its files. Given
these, it does so with shapes alone, and a model that nobody has room for passes through.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

Root = Callable[[], Tensor]
"""Makes a tensor that is computed of no other."""


class Later(Tensor):
    """On the meta device, of the shape and dtype that it will have. ``roots`` are what it takes."""

    roots: tuple[Root, ...]
    _computed: Callable[[Callable[[Root], Tensor]], Tensor]

    @classmethod
    def of(cls, shape: Sequence[int], dtype: torch.dtype, root: Root) -> "Later":
        """What the root makes, which must have this shape and dtype."""
        empty = torch.empty(tuple(shape), dtype=dtype, device="meta")
        return _later(empty, (root,), lambda made: made(root))

    def made(self, made: Callable[[Root], Tensor]) -> Tensor:
        """The tensor; ``made`` gives what a root makes, and may keep it for others."""
        return self._computed(made)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.contiguous:  # whoever writes it sees to that
            return args[0]
        call = (args, dict(kwargs or {}))
        with torch._C.DisableTorchFunctionSubclass():
            leaves, form = tree_flatten(func(*call[0], **call[1]))
        found = [_of_call(leaf, number, func, call) for number, leaf in enumerate(leaves)]
        return tree_unflatten(found, form)


def _of_call(leaf: Any, number: int, func: Callable[..., Any], call: Any) -> Any:
    if not isinstance(leaf, Tensor) or isinstance(leaf, Later):
        return leaf

    def computed(made: Callable[[Root], Tensor]) -> Tensor:
        args, kwargs = tree_map(lambda x: x.made(made) if isinstance(x, Later) else x, call)
        return tree_leaves(func(*args, **kwargs))[number]

    roots = (root for one in tree_leaves(call) if isinstance(one, Later) for root in one.roots)
    return _later(leaf, tuple(dict.fromkeys(roots)), computed)


def _later(shown: Tensor, roots: tuple[Root, ...], computed: Any) -> Later:
    """With a storage of its own, as it is to be written."""
    one = torch.empty(shown.shape, dtype=shown.dtype, device="meta").as_subclass(Later)
    one.roots, one._computed = roots, computed
    return one
