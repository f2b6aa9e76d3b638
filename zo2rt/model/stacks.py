"""Which of a model's lists of blocks run, and in which order: seen by running it once."""

from collections.abc import Callable
from contextlib import ExitStack

from torch import nn

from zo2rt.model.discovery import Blocks, block_lists
from zo2rt.model.loss import evaluating


def running_blocks(model: nn.Module, forward: Callable[[], object]) -> Blocks:
    """The blocks of every list that ``forward`` enters, in order of execution.

    Encoder before decoder, a tower of images before the text; what lies between two stacks runs
    with the last block of the first. Raises ``ValueError`` where it enters none.
    """
    lists, entered = block_lists(model), list[str]()
    with ExitStack() as stack:
        for path in lists:
            first = next(iter(model.get_submodule(path).children()))

            def note(*_: object, path: str = path) -> None:
                entered.append(path)

            stack.enter_context(first.register_forward_pre_hook(note))
        with evaluating(model):
            forward()
    if not entered:
        raise ValueError(
            f"{type(model).__name__}: a forward pass must run a list of blocks; it ran none of "
            f"{', '.join(lists) or 'the model, which has no list of equal modules'}"
        )
    return Blocks.at(model, *dict.fromkeys(entered))
