"""What a block is called with: tensors among anything else, in containers of any depth."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


def moved(carried: Any, receive: Callable[[Tensor], Tensor]) -> Any:
    """The same with every tensor received, once each: what was one tensor is one afterwards."""
    known: dict[int, Tensor] = {}

    def once(tensor: Tensor) -> Tensor:
        if id(tensor) not in known:
            known[id(tensor)] = receive(tensor)
        return known[id(tensor)]

    return pytree.tree_map_only(Tensor, once, carried)
