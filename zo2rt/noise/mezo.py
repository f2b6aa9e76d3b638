"""MeZO's own noise and arithmetic (arXiv:2305.17333, Algorithm 1), to compare with other codes.

MeZO seeds torch's generator and draws ``torch.normal`` for one parameter after the other, in the
parameter's dtype. What a parameter gets depends on all before it, so a pass ahead of the step notes
the generator's state at each one; units may then be visited in any order. The generator is private:
the global one, which feeds dropout and samplers, is not touched.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class StepDraws:
    """The noise of one step: one z per parameter, the same at every call."""

    def __init__(self, seed: int, parameters: Sequence[Tensor], *, device: str = "cpu") -> None:
        """Draw everything once. Of the parameters, in order, only shape and dtype are used.

        They may be on the ``meta`` device, and must be those that are trained, as in MeZO.
        """
        self._generator = torch.Generator(device).manual_seed(seed)
        self._templates = [
            torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")
            for parameter in parameters
        ]
        self._states: list[Tensor] = []
        for template in self._templates:
            self._states.append(self._generator.get_state())
            self._normal(template)

    def z(self, index: int) -> Tensor:
        """The noise of parameter ``index`` (its place in ``parameters``), a new tensor."""
        self._generator.set_state(self._states[index])
        return self._normal(self._templates[index])

    def _normal(self, template: Tensor) -> Tensor:
        return torch.normal(
            mean=0.0,
            std=1.0,
            size=template.shape,
            dtype=template.dtype,
            device=self._generator.device,
            generator=self._generator,
        )


def perturb(out: Tensor, theta: Tensor, z: Tensor, *, scale: float, eps: float) -> None:
    """``out = theta + scale z eps``, every operation rounded to the weights' dtype.

    MeZO's in-place order is scale = 1, -2, 1 with ``out`` being theta; it does not restore theta.
    """
    with torch.no_grad():
        torch.add(theta, (scale * z) * eps, out=out)


def update(theta: Tensor, z: Tensor, *, lr: float, g: float, weight_decay: float) -> None:
    """``theta -= lr (g z + weight_decay theta)``, in the weights' dtype."""
    with torch.no_grad():
        theta.sub_(lr * (g * z + weight_decay * theta))
