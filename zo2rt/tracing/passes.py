"""One forward pass without arithmetic, counted; blocks that are alike run once."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from zo2rt.model.discovery import Blocks
from zo2rt.model.loss import evaluating
from zo2rt.model.uses import entering
from zo2rt.tracing.attention import Masks, caught
from zo2rt.tracing.counting import Counter, Work
from zo2rt.tracing.shadow import Shadow

_PLAIN = (bool, int, float, str, type(None))
_NUMBER = ("layer_idx", "layer_id", "layer_index", "layer_number", "block_idx", "idx")
"""Under these names a module keeps which of its kind it is."""


@contextlib.contextmanager
def shadowed(masks: Masks, counter: Counter | None = None) -> Iterator[None]:
    """Inside, forward passes compute nothing, and ``counter`` counts them."""
    with contextlib.ExitStack() as stack:
        sink = (lambda _: None) if counter is None else counter.attended
        stack.enter_context(caught(sink, masks=masks))
        stack.enter_context(torch.no_grad())
        stack.enter_context(Shadow(masks=True))
        if counter is not None:
            stack.enter_context(counter)
        yield


def counted(
    model: PreTrainedModel,
    blocks: Blocks,
    batch: Mapping[str, Any],
    *,
    length: int,
    small: int,
    masks: Masks,
) -> dict[int, Work]:
    """What each unit runs in a forward pass. Raises whatever the model's code raises."""
    counter = Counter(model.parameters(), length=length, small=small)

    def enter(unit: int) -> None:
        counter.unit = unit

    with (
        evaluating(model),
        entering(model, blocks, enter),
        once(blocks.modules, counter),
        shadowed(masks, counter),
    ):
        model(**batch)
    return counter.by_unit


@contextlib.contextmanager
def once(blocks: Sequence[nn.Module], counter: Counter | None = None) -> Iterator[None]:
    """Inside, a block that equals an earlier one, arguments too, gives what that gave."""
    known: dict[object, tuple[Any, Work]] = {}

    def instead_of(module: nn.Module) -> Callable[..., Any]:
        kind, forward = _structure(module), module.forward

        def run(*args: Any, **kwargs: Any) -> Any:
            hidden = [_sizes(leaf) for leaf in args[:1]]
            key = kind, repr(hidden), repr(_arguments((args[1:], kwargs)))
            if key not in known:
                before = Work() if counter is None else counter.work.copy()
                out = forward(*args, **kwargs)
                known[key] = out, Work() if counter is None else counter.work.since(before)
            elif counter is not None:
                counter.work.add(known[key][1])
            return known[key][0]

        return run

    try:
        for module in blocks:
            module.forward = instead_of(module)
        yield
    finally:
        for module in blocks:
            del module.forward


def _structure(module: nn.Module) -> str:
    """Classes, sizes and settings of everything in a module, but for its place among its like."""
    return repr([(name, *_described(m)) for name, m in module.named_modules()])


def _described(module: nn.Module) -> tuple[object, ...]:
    own = [
        (key, value)
        for key, value in vars(module).items()
        if key not in _NUMBER and isinstance(value, _PLAIN)
    ]
    tensors = [
        (name, *_sizes(tensor))
        for of in (module._parameters, module._buffers)
        for name, tensor in of.items()
        if tensor is not None
    ]
    return type(module).__name__, own, tensors


def _arguments(value: Any) -> object:
    """What a block is given beside its input: the same tensors, or equal settings."""
    if isinstance(value, Tensor):
        return id(value)
    if isinstance(value, Mapping):
        return [(key, _arguments(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [_arguments(item) for item in value]
    return value if isinstance(value, _PLAIN) else id(value)


def _sizes(value: Any) -> tuple[object, ...]:
    return (tuple(value.shape), value.dtype) if isinstance(value, Tensor) else (type(value),)
