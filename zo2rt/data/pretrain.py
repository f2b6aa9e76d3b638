"""A short pre-training with AdamW: how a small model gets a language to be fine-tuned in."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zo2rt.model.loss import model_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretraining:
    """AdamW (arXiv:1711.05101) with a linear warm-up and a linear decay to zero."""

    steps: int
    lr: float
    warmup_steps: int
    weight_decay: float = 0.01

    def lr_at(self, step: int) -> float:
        """Learning rate of one step, from 0 on."""
        return self.lr * min(1.0, (step + 1) / self.warmup_steps) * (1.0 - step / self.steps)


def pretrain(
    model: nn.Module, batch_at: Callable[[int], Mapping[str, Tensor]], how: Pretraining
) -> Iterator[float]:
    """Train ``model`` on the batch of every step; yields each step's loss.

    Deterministic on a CPU with a given number of threads. The model is left in eval mode.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=how.lr, weight_decay=how.weight_decay)
    for step in range(how.steps):
        for group in optimizer.param_groups:
            group["lr"] = how.lr_at(step)
        loss = model_loss(model, batch_at(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
    model.eval()
