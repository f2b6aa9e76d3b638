"""What a lane runs: the user's loss function, any Python."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from zo2rt.model.walk import modules_of

LossFn = Callable[[nn.Module, Any], Tensor | float]
"""(model, batch) -> a scalar: a tensor of one element, or a number."""


def model_loss(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """The model's own loss of a batch that contains labels."""
    loss = model(**batch).loss
    if loss is None:
        raise ValueError(
            f"{type(model).__name__} must return a loss, and returned none for a batch of "
            f"{', '.join(batch)}; add labels to the batch, or give a loss function of your own"
        )
    return loss


def scalar(loss: object) -> Tensor:
    """A copy of the loss without dimensions, on its own device, which is not waited for.

    In its own dtype; a number is float64.
    """
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return loss.detach().reshape(()).clone()
    if isinstance(loss, (int, float)):
        return torch.tensor(float(loss), dtype=torch.float64, device="cpu")
    got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss)
    raise ValueError(f"a loss function must return a scalar tensor or a number; got {got}")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode, and none that caches for decoding; afterwards all is as before.

    In eval mode Hugging Face's decoders keep the keys and values of every block until a forward
    ends (``use_cache`` of their config): for a long sequence more than the slots that blocks are
    streamed through. A loss function that passes ``use_cache`` itself gets what it asks for.
    """
    modules = modules_of(model)
    trained = [module for module in modules if module.training]
    # A module that has none looks for it, by getattr, in vain through all that it holds.
    configs = {id(c): c for m in modules if (c := vars(m).get("config")) is not None}
    caching = [c for c in configs.values() if getattr(c, "use_cache", False) is True]
    try:
        for module in trained:
            module.training = False
        for config in caching:
            config.use_cache = False
        yield
    finally:
        for module in trained:
            module.training = True
        for config in caching:
            config.use_cache = True


def refuse_dropout(model: nn.Module) -> None:
    """Raise ``ValueError`` that names the modules whose dropout is switched on.

    Besides ``nn.Dropout`` and its kind, a module counts that is in training mode and keeps a
    positive number under a name with "drop" in it, as Hugging Face's OPT does.
    """
    if any(map(_drops, modules_of(model))):
        active = [name or type(m).__name__ for name, m in model.named_modules() if _drops(m)]
        more = f" and {len(active) - 3} more" if len(active) > 3 else ""
        raise ValueError(
            f"dropout must be off, because lanes run in eval mode; it is on in "
            f"{', '.join(active[:3])}{more}; call model.eval() first"
        )


def _drops(module: nn.Module) -> bool:
    if not module.training:
        return False
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    return any(
        isinstance(value, float) and value > 0 and "drop" in name
        for name, value in vars(module).items()
    )
