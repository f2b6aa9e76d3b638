"""A hollow model that computes: with the weights of one block, and of all that is no block's.

What a self-test needs of a model that nobody has room for, at the price of reading every block
anew in each forward pass.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from zo2rt.model.discovery import Blocks, block_lists
from zo2rt.model.uses import entering

Weights = Callable[[nn.Parameter], Tensor]
"""What a hollow parameter is to hold; of another one, its own data."""


def own(parameter: nn.Parameter) -> Tensor:
    """The weights of a model that is whole."""
    return parameter.data


class Presence:
    """From construction to ``close``, parameters outside of ``blocks`` hold their weights.

    Those of a block do from `enter` on, until another block is entered. Without ``blocks``,
    every parameter is outside.
    """

    def __init__(self, model: nn.Module, blocks: Blocks | None, weights: Weights = own) -> None:
        self._model, self._blocks, self._weights = model, blocks, weights
        self._before: dict[nn.Parameter, Tensor] = {}
        self._block: int | None = None
        readers: defaultdict[nn.Parameter, set[int | None]] = defaultdict(set)
        for name, parameter in model.named_parameters(remove_duplicate=False):
            readers[parameter].add(None if blocks is None else blocks.block_of(name))
        self._of: defaultdict[int | None, list[nn.Parameter]] = defaultdict(list)
        for parameter, found in readers.items():
            self._of[found.pop() if len(found) == 1 else None].append(parameter)
        self._show(self._of[None])

    def enter(self, unit: int) -> None:
        """Show a block's weights; of head and tail all are there already."""
        if unit != self._block and unit in self._of:
            if self._block is not None:
                self._hide(self._of[self._block])
            self._block = unit
            self._show(self._of[unit])

    def keep(self, parameters: Iterable[nn.Parameter]) -> None:
        """Show these to the end, whosever they are."""
        kept = set(parameters)
        for block, members in self._of.items():
            if block is not None:
                self._of[block] = [p for p in members if p not in kept]
        shown = set(self._of[None])
        self._of[None] += (new := [p for p in kept if p not in shown])
        self._show(p for p in new if p not in self._before)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Inside, a forward pass of the whole model enters every block that it comes to."""
        if self._blocks is None:
            yield
        else:
            with entering(self._model, self._blocks, self.enter):
                yield

    def close(self) -> None:
        """Every parameter is what it was."""
        self._hide([*self._before])

    def _show(self, parameters: Iterable[nn.Parameter]) -> None:
        with torch._C.DisableTorchFunction():  # `zo2rt.model.uses` watches: no unit uses these
            for parameter in parameters:
                self._before[parameter] = parameter.data
                parameter.data = self._weights(parameter)

    def _hide(self, parameters: Iterable[nn.Parameter]) -> None:
        with torch._C.DisableTorchFunction():
            for parameter in parameters:
                parameter.data = self._before.pop(parameter)


@contextmanager
def present(model: nn.Module, weights: Weights) -> Iterator[None]:
    """Inside, forward passes of the model compute with its weights."""
    lists = block_lists(model)
    presence = Presence(model, Blocks.at(model, *lists) if lists else None, weights)
    try:
        with presence.passing():
            yield
    finally:
        presence.close()
