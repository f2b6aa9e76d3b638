"""How z reaches a parameter's weights: by element addresses, or as MeZO draws it.

[Note: sequences in place] MeZO adds ``eps z``, then ``-2 eps z``, then ``eps z``: every sum is
rounded, so the last does not bring theta back. In scratch, W+ and W- are each built from theta.
Either way a build is ``out = rn(base + scale eps z)``; only base and scale differ.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, final

import torch
from torch import Tensor

from zo2rt import noise
from zo2rt.noise import Kind, Place, mezo
from zo2rt.noise.mezo import StepDraws
from zo2rt.units import UnitParameter

SPLIT_ELEMENTS = 1 << 16
"""Below this many elements a pass stays on one thread."""


class Both(NamedTuple):
    """Room for the weights of both signs."""

    plus: Tensor
    minus: Tensor


class Draws(ABC):
    """Noise of one run, for every parameter. Called from the threads of streams."""

    @abstractmethod
    def begin(self, keys: Sequence[int]) -> None:
        """A step starts whose samples have these keys."""

    @abstractmethod
    def perturb(
        self, out: Tensor, base: Tensor, parameter: UnitParameter, *, key: int, scaled_eps: float
    ) -> None:
        """``out = rn(base + scaled_eps z)``; they may be the same tensor."""

    @abstractmethod
    def perturb_both(
        self, both: Both, base: Tensor, parameter: UnitParameter, *, key: int, eps: float
    ) -> None:
        """W+ and W-, neither of which is ``base``, with the bits of two calls of `perturb`."""

    @abstractmethod
    def update(
        self, theta: Tensor, parameter: UnitParameter, records: Sequence[noise.Record]
    ) -> None:
        """Apply the records in order, rounding to theta's format after each."""


@final
class ElementDraws(Draws):
    """Noise with element addresses: the same bits for every order, tiling and thread count."""

    def __init__(
        self,
        kind: Kind,
        *,
        thresholds: Mapping[str, float],
        threads: int = 1,
        stochastic_rounding: bool = False,
    ) -> None:
        """``thresholds`` of Sparse-MeZO by parameter; who has none is trained densely."""
        self._kind: Kind = kind
        self._thresholds = thresholds
        self._stochastic_rounding = stochastic_rounding
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "noise") if threads > 1 else None

    def begin(self, keys: Sequence[int]) -> None:
        """Nothing to prepare: z is a function of its address."""

    def perturb(
        self, out: Tensor, base: Tensor, parameter: UnitParameter, *, key: int, scaled_eps: float
    ) -> None:
        work = partial(noise.perturb, key=key, coefficient=scaled_eps, kind=self._kind)
        self._run(work, parameter, out, base)

    def perturb_both(
        self, both: Both, base: Tensor, parameter: UnitParameter, *, key: int, eps: float
    ) -> None:
        work = partial(noise.perturb_pair, key=key, coefficient=eps, kind=self._kind)
        self._run(work, parameter, *both, base)

    def update(
        self, theta: Tensor, parameter: UnitParameter, records: Sequence[noise.Record]
    ) -> None:
        rounding = self._stochastic_rounding
        work = partial(noise.update, records=records, kind=self._kind, stochastic_rounding=rounding)
        self._run(work, parameter, theta)

    def _run(self, work: partial[None], parameter: UnitParameter, *tensors: Tensor) -> None:
        threshold = self._thresholds.get(parameter.name, math.inf)
        place = Place(p=parameter.index, threshold=threshold)
        flat = [tensor.view(-1) for tensor in tensors]
        on_host = flat[0].device.type == "cpu"
        if self._pool is not None and on_host and parameter.elements >= SPLIT_ELEMENTS:
            noise.split(self._pool, self._threads, work, place, *flat)
        else:
            work(*flat, place)


@final
class MezoDraws(Draws):
    """MeZO's sequential noise (DESIGN 5, `torch`): every step starts with a pass over all of it.

    ``trained`` are the parameters in the order of the model's ``named_parameters()``.
    """

    def __init__(self, trained: Sequence[UnitParameter], device: torch.device) -> None:
        self._templates = {
            p.name: torch.empty(p.shape, dtype=p.tensor.dtype, device="meta") for p in trained
        }
        self._device = str(device)
        self._drawn: dict[int, StepDraws[str]] = {}

    def begin(self, keys: Sequence[int]) -> None:
        """The step before may still have updates to come; older ones do not."""
        kept = dict(list(self._drawn.items())[-len(keys) :])
        new = {key: StepDraws(key, self._templates, device=self._device) for key in keys}
        self._drawn = kept | new

    def perturb(
        self, out: Tensor, base: Tensor, parameter: UnitParameter, *, key: int, scaled_eps: float
    ) -> None:
        z = self._drawn[key].z(parameter.name)
        mezo.perturb(out, base, z, scale=1.0, eps=scaled_eps)

    def perturb_both(
        self, both: Both, base: Tensor, parameter: UnitParameter, *, key: int, eps: float
    ) -> None:
        z = self._drawn[key].z(parameter.name)
        for out, scale in zip(both, (1.0, -1.0), strict=True):
            mezo.perturb(out, base, z, scale=scale, eps=eps)

    def update(
        self, theta: Tensor, parameter: UnitParameter, records: Sequence[noise.Record]
    ) -> None:
        for record in records:
            if not record.skipped:
                pairs = zip(record.projected_gradients, record.sample_keys, strict=True)
                directions = ((g, self._drawn[key].z(parameter.name)) for g, key in pairs)
                decay = record.weight_decay
                mezo.update(theta, directions, lr=record.lr, weight_decay=decay)
