"""Which of a model's lists of blocks run, and in which order: seen by running it once."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from torch import nn

from zo2rt.model.discovery import Blocks, block_lists
from zo2rt.tracing.passes import once


def running(model: nn.Module, batch: Mapping[str, Any]) -> Blocks:
    """The blocks of every list that a forward pass of this batch enters, in order of execution.

    Raises ``ValueError`` where it enters none.
    """
    lists, entered = block_lists(model), list[str]()
    with ExitStack() as stack:
        for path in lists:
            first = next(iter(model.get_submodule(path).children()))

            def note(*_: object, path: str = path) -> None:
                entered.append(path)

            stack.enter_context(first.register_forward_pre_hook(note))
        stack.enter_context(once([*Blocks.at(model, *lists).modules] if lists else []))
        model(**batch)
    if not entered:
        raise ValueError(
            f"{type(model).__name__}: a forward pass must run a list of blocks; it ran none of "
            f"{', '.join(lists) or 'the model, which has no list of equal modules'}"
        )
    return Blocks.at(model, *dict.fromkeys(entered))
