"""Which unit reads which parameter, seen by running the loss function once.

The order in which a model registers its modules does not tell (OPT registers its final norm before
the blocks), so every torch function that receives a parameter is noted with the unit in which it
was called.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zo2rt.model.discovery import Blocks
from zo2rt.model.loss import LossFn, evaluating
from zo2sim.schedule.ops import HEAD, TAIL

Uses = Mapping[str, frozenset[int]]
"""Units that read a parameter, by its name; a parameter that nothing reads is missing."""


def trace_uses(model: nn.Module, blocks: Blocks, loss_fn: LossFn, batch: Any) -> Uses:
    """Units that read each parameter in one run of the loss function, in eval mode, no gradients.

    The model must be whole on a device.
    """
    watch = _Watch({id(p): name for name, p in model.named_parameters()})
    with evaluating(model), torch.no_grad(), entering(model, blocks, watch.enter), watch:
        loss_fn(model, batch)
    return {name: frozenset(units) for name, units in watch.uses.items()}


@contextmanager
def entering(model: nn.Module, blocks: Blocks, enter: Callable[[int], None]) -> Iterator[None]:
    """Inside, ``enter`` hears the number of every unit that a forward pass comes to.

    What runs between two blocks counts as the first of them.
    """

    def hook_of(unit: int) -> Callable[..., None]:
        def hook(*_: object) -> None:
            enter(unit)

        return hook

    with ExitStack() as stack:
        for number, block in enumerate(blocks.modules):
            _ = stack.enter_context(block.register_forward_pre_hook(hook_of(number)))
        _ = stack.enter_context(blocks.modules[-1].register_forward_hook(hook_of(TAIL)))
        for module in blocks.ancestors(model):
            _ = stack.enter_context(module.register_forward_pre_hook(hook_of(HEAD)))
        yield


class _Watch(TorchFunctionMode):
    """Notes the parameters that reach a torch function which returns tensors.

    Functions that return none (a shape, a dtype) only look at the parameter's description.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self._names = names
        self._unit = HEAD
        self.uses: defaultdict[str, set[int]] = defaultdict(set)

    def enter(self, unit: int) -> None:
        self._unit = unit

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(True for _ in _tensors(result)):
            for tensor in _tensors((args, kwargs)):
                if id(tensor) in self._names:
                    self.uses[self._names[id(tensor)]].add(self._unit)
        return result


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
