"""MeZO's own noise and arithmetic (arXiv:2305.17333, Algorithm 1), to compare with other codes.

MeZO seeds torch's generator and draws ``torch.normal`` for one parameter after the other, in the
parameter's dtype. What a parameter gets depends on all before it, so a pass ahead of the step notes
the generator's state at each one; units may then be visited in any order, by any thread. Every
generator is private: the global one, which feeds dropout and samplers, is not touched.

A step of MeZO perturbs with ``scale`` 1, -2 and 1, in place, and then updates; all four draw the
same z. The first three do not restore theta: each rounds. `update` has the order of MeZO's products
(princeton-nlp/MeZO, large_models/trainer.py, zo_update), `update_lr_first` that of ZO2's.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


class StepDraws(Generic[Key]):
    """The noise of one seed: one z per parameter, the same at every call and in every thread."""

    def __init__(self, seed: int, parameters: Mapping[Key, Tensor], *, device: str = "cpu") -> None:
        """Draw everything once. Of the parameters, only order, shape and dtype are used.

        They are those that are trained, under any keys, in MeZO's order: as registered, shared ones
        once. That is not the order in which they run: OPT registers its final norm before its
        blocks. They may be on the ``meta`` device. The noise is drawn on ``device``, whose
        generator decides its bits. Takes 5 KB per parameter, and the time of drawing every z once.
        """
        self._device = torch.device(device)
        self._draws: dict[Key, tuple[Tensor, Tensor]] = {}
        generator = torch.Generator(self._device).manual_seed(seed)
        for key, parameter in parameters.items():
            template = torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")
            self._draws[key] = template, generator.get_state()
            _normal(template, generator)

    def z(self, key: Key) -> Tensor:
        """The noise of one parameter, a new tensor. Threads may ask at the same time."""
        template, state = self._draws[key]
        return _normal(template, torch.Generator(self._device).set_state(state))


def _normal(template: Tensor, generator: torch.Generator) -> Tensor:
    return torch.normal(
        mean=0.0,
        std=1.0,
        size=template.shape,
        dtype=template.dtype,
        device=generator.device,
        generator=generator,
    )


def perturb(out: Tensor, theta: Tensor, z: Tensor, *, scale: float, eps: float) -> None:
    """``out = theta + scale z eps``, every operation rounded to the weights' dtype.

    MeZO's in-place order is ``scale`` 1, -2, 1 with ``out`` being theta.
    """
    with torch.no_grad():
        torch.add(theta, (scale * z) * eps, out=out)


def update(
    theta: Tensor, directions: Iterable[tuple[float, Tensor]], *, lr: float, weight_decay: float
) -> None:
    """``theta -= lr (mean of g_i z_i + weight_decay theta)``, in the weights' dtype.

    ``directions`` are (g, z) of the q samples, summed in the order given and divided by q; they are
    taken one at a time, so a generator keeps one z alive. With one of them this is MeZO's update.
    MeZO leaves the last term out for biases and norms; ``weight_decay`` 0.0 gives the same bits, as
    long as theta is finite.
    """
    with torch.no_grad():
        theta.sub_(lr * (_mean(directions) + weight_decay * theta))


def update_lr_first(theta: Tensor, g: float, z: Tensor, *, lr: float) -> None:
    """``theta -= (lr g) z``, lr g in float64: ZO2's update where its code never decays.

    In `update` g z is rounded to the weights' dtype before lr multiplies it, as MeZO has it. From
    liangyuwang/zo2, zo2/optimizer/mezo_sgd/zo.py, zo_update; where that code streams OPT, in
    zo2/model/huggingface/opt/mezo_sgd/zo2.py, it gives the last norm the order of `update`.
    """
    with torch.no_grad():
        theta.sub_((lr * g) * z)


def _mean(directions: Iterable[tuple[float, Tensor]]) -> Tensor:
    total, count = None, 0
    for g, z in directions:
        product = g * z
        total = product if total is None else total + product
        count += 1
    if total is None:
        raise ValueError("an update must average over at least one sample; got none")
    return total / count
