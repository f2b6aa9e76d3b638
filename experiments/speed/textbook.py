"""MeZO as its paper has it, to be compared with: in memory, on the unmodified model."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class TextbookMezo:
    """MeZO-SGD (arXiv:2305.17333, algorithm 1), in place: +1, -2, +1, and the update.

    z is drawn from its seed four times per step. The arithmetic is that of the published code, in
    which every product is a tensor of its own; ``fused`` scales and adds in one pass, with other
    roundings, and is the fastest that PyTorch's own operators make of it.
    """

    def __init__(
        self, model: nn.Module, *, fused: bool = False, lr: float = 1e-6, eps: float = 1e-3
    ) -> None:
        self._model = model
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._fused = fused
        self._lr, self._eps = lr, eps

    @torch.no_grad()
    def step(self, batch: Mapping[str, Tensor], seed: int) -> float:
        """Returns the projected gradient."""
        self._perturb(seed, 1.0)
        plus = self._loss(batch)
        self._perturb(seed, -2.0)
        minus = self._loss(batch)
        self._perturb(seed, 1.0)
        g = (plus - minus) / (2.0 * self._eps)
        self._update(seed, g)
        return g

    def _loss(self, batch: Mapping[str, Tensor]) -> float:
        return float(self._model(**batch).loss)

    def _perturb(self, seed: int, scale: float) -> None:
        for parameter, z in self._with_noise(seed):
            if self._fused:
                parameter.add_(z, alpha=scale * self._eps)
            else:
                parameter.add_((scale * z) * self._eps)

    def _update(self, seed: int, g: float) -> None:
        for parameter, z in self._with_noise(seed):
            if self._fused:
                parameter.add_(z, alpha=-self._lr * g)
            else:
                parameter.sub_(self._lr * (g * z))

    def _with_noise(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        torch.manual_seed(seed)
        for p in self._parameters:
            yield p, torch.normal(mean=0.0, std=1.0, size=p.shape, dtype=p.dtype, device=p.device)
