"""What MeZO and ZO2 compute in a step, written from their published arithmetic and nothing of ours.

MeZO: princeton-nlp/MeZO, large_models/trainer.py, zo_step and zo_update. ZO2: liangyuwang/zo2,
zo2/optimizer/mezo_sgd/zo.py. Both see a model's trainable parameters in the order in which it
registers them, one that is shared once, and draw z for one after the other, in its dtype, from
PyTorch's global generator, which every pass seeds anew. Both divide the losses as tensors, in the
dtype that the model returns, which is fp32 where it computes its loss in fp32.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Settings(NamedTuple):
    """Numbers of a run, all of them Python's."""

    lr: float
    eps: float
    weight_decay: float


Update = Callable[[str, Tensor, Tensor, float, Settings], None]
"""(name, parameter, z, g, settings): changes the parameter."""


def mezo_update(name: str, theta: Tensor, z: Tensor, g: float, settings: Settings) -> None:
    """The learning rate multiplies a sum; norms that MeZO does not know by name decay as well."""
    step = g * z
    if not any(part in name for part in ("bias", "layer_norm", "layernorm")):
        step = step + settings.weight_decay * theta
    theta.copy_(theta - settings.lr * step)


def zo2_update(name: str, theta: Tensor, z: Tensor, g: float, settings: Settings) -> None:
    """What does not decay is multiplied by one number, the product of rate and g."""
    if any(part in name for part in ("bias", "layer_norm", "layernorm", "ln")):
        theta.sub_(settings.lr * g * z)
    else:
        theta.sub_(settings.lr * (g * z + settings.weight_decay * theta))


UPDATES: dict[str, Update] = {"mezo": mezo_update, "zo2": zo2_update}


class Loop:
    """Trains a model step by step; ``losses`` and ``gradients`` are of every step so far."""

    def __init__(self, model: nn.Module, update: Update, settings: Settings) -> None:
        self._model, self._update, self._settings = model, update, settings
        self.losses: list[tuple[float, float]] = []
        self.gradients: list[float] = []

    @torch.no_grad()
    def step(self, batch: dict[str, Tensor], seed: int, lr: float | None = None) -> None:
        settings = self._settings if lr is None else self._settings._replace(lr=lr)
        self._shift(seed, 1)
        plus = self._model(**batch).loss
        self._shift(seed, -2)
        minus = self._model(**batch).loss
        self._shift(seed, 1)
        g = ((plus - minus) / (2 * settings.eps)).item()
        for name, theta, z in self._drawn(seed):
            self._update(name, theta, z, g, settings)
        self.losses.append((float(plus), float(minus)))
        self.gradients.append(g)

    def _shift(self, seed: int, factor: int) -> None:
        for _, theta, z in self._drawn(seed):
            theta.add_(factor * z * self._settings.eps)

    def _drawn(self, seed: int) -> Iterator[tuple[str, Tensor, Tensor]]:
        torch.manual_seed(seed)
        for name, parameter in self._model.named_parameters():
            if parameter.requires_grad:
                theta = parameter.data
                z = torch.normal(
                    mean=0, std=1, size=theta.size(), dtype=theta.dtype, device=theta.device
                )
                yield name, theta, z
