"""How z reaches a parameter's weights: by element addresses, or as MeZO draws it.

[Note: sequences in place] MeZO adds ``eps z``, then ``-2 eps z``, then ``eps z``: every sum is
rounded, so the last does not bring theta back. In scratch, W+ and W- are each built from theta.
Either way a build is ``out = rn(base + scale eps z)``; only base and scale differ.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from zo2rt import noise
from zo2rt.model.decay import ZO2_UNDECAYED
from zo2rt.model.units import UnitParameter
from zo2rt.noise import Distribution, Extent, mezo
from zo2rt.noise.mezo import StepDraws
from zo2sim.plan.choices import Reference

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
        self,
        theta: Tensor,
        parameter: UnitParameter,
        updates: Sequence[noise.Update],
        *,
        first_element: int = 0,
    ) -> None:
        """Apply the updates in order, rounding to theta's format after each.

        theta may be a run of the parameter's elements, from ``first_element`` on.
        """


@final
class ElementDraws(Draws):
    """Noise with element addresses: the same bits for every order, tiling and thread count."""

    def __init__(
        self,
        kind: Distribution,
        *,
        thresholds: Mapping[str, float],
        threads: int = 1,
        stochastic_rounding: bool = False,
    ) -> None:
        """``thresholds`` of Sparse-MeZO by parameter; who has none is trained densely."""
        self._kind: Distribution = kind
        self._thresholds = thresholds
        self._stochastic_rounding = stochastic_rounding
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "noise") if threads > 1 else None
        self._known: MutableMapping[Tensor, dict[tuple[int, ...], noise.Prepared]]
        self._known = WeakIdKeyDictionary()
        self._arrays: dict[bool, tuple[Sequence[noise.Update], noise.Updates]] = {}

    def begin(self, keys: Sequence[int]) -> None:
        """Nothing to prepare: z is a function of its address."""

    def perturb(
        self, out: Tensor, base: Tensor, parameter: UnitParameter, *, key: int, scaled_eps: float
    ) -> None:
        if self._is_split(base):
            self._split(noise.perturb, parameter, out, base, key=key, coefficient=scaled_eps)
        else:
            self._prepared(parameter, out, base).perturb(key=key, coefficient=scaled_eps)

    def perturb_both(
        self, both: Both, base: Tensor, parameter: UnitParameter, *, key: int, eps: float
    ) -> None:
        if self._is_split(base):
            self._split(noise.perturb_pair, parameter, *both, base, key=key, coefficient=eps)
        else:
            self._prepared(parameter, *both, base).perturb(key=key, coefficient=eps)

    def update(
        self,
        theta: Tensor,
        parameter: UnitParameter,
        updates: Sequence[noise.Update],
        *,
        first_element: int = 0,
    ) -> None:
        rounding = self._stochastic_rounding
        if self._is_split(theta):
            known = {"updates": updates, "stochastic_rounding": rounding}
            self._split(noise.update, parameter, theta, first_element=first_element, **known)
        else:
            arrays = self._arrays_of(updates, decays=parameter.decays)
            ready = self._prepared(parameter, theta, first_element=first_element)
            ready.update(arrays, stochastic_rounding=rounding)

    def _is_split(self, theta: Tensor) -> bool:
        if self._pool is None or theta.device.type != "cpu":
            return False
        return theta.numel() >= SPLIT_ELEMENTS

    def _split(
        self,
        work: Callable[..., None],
        parameter: UnitParameter,
        *tensors: Tensor,
        first_element: int = 0,
        **known: Any,
    ) -> None:
        assert self._pool is not None
        ready = partial(work, kind=self._kind, **known)
        flat = [tensor.view(-1) for tensor in tensors]
        place = self._place(parameter).advanced(first_element)
        noise.split(self._pool, self._threads, ready, place, *flat)

    def _place(self, parameter: UnitParameter) -> Extent:
        return Extent(p=parameter.index, threshold=self._thresholds.get(parameter.name, math.inf))

    def _prepared(
        self, parameter: UnitParameter, *tensors: Tensor, first_element: int = 0
    ) -> noise.Prepared:
        """Buffers never move, so each is prepared once, and forgotten when its view of theta is."""
        known = self._known.get(tensors[-1])
        if known is None:
            known = self._known[tensors[-1]] = {}
        where = (parameter.index, *(tensor.data_ptr() for tensor in tensors))
        found = known.get(where)
        if found is None:
            place = self._place(parameter).advanced(first_element)
            found = known[where] = noise.prepared(*tensors, place=place, kind=self._kind)
        return found

    def _arrays_of(self, updates: Sequence[noise.Update], *, decays: bool) -> noise.Updates:
        """Every parameter of a group gets the same sequence, which is converted once."""
        of, arrays = self._arrays.get(decays, (None, None))
        if of is not updates or arrays is None:
            arrays = noise.Updates.of(updates)
            self._arrays[decays] = updates, arrays
        return arrays


@final
class MezoDraws(Draws):
    """MeZO's sequential noise (DESIGN 5, `torch`): every step starts with a pass over all of it.

    ``trained`` are the parameters in the order of the model's ``named_parameters()``. An update has
    MeZO's order of products; with ``reference`` zo2, ZO2's in what its code never decays, where
    this run does not either.
    """

    def __init__(
        self,
        trained: Sequence[UnitParameter],
        device: torch.device,
        reference: Reference = "none",
    ) -> None:
        self._templates = {
            p.name: torch.empty(p.shape, dtype=p.tensor.dtype, device="meta") for p in trained
        }
        undecayed = ZO2_UNDECAYED if reference == "zo2" else ()
        self._lr_first = {p.name for p in trained if any(part in p.name for part in undecayed)}
        self._device = str(device)
        self._drawn: dict[int, StepDraws[str]] = {}
        self._latest: dict[int, StepDraws[str]] = {}

    def begin(self, keys: Sequence[int]) -> None:
        """The step before may still have updates to come; older ones do not."""
        new = {key: StepDraws(key, self._templates, device=self._device) for key in keys}
        self._drawn, self._latest = self._latest | new, new

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
        self,
        theta: Tensor,
        parameter: UnitParameter,
        updates: Sequence[noise.Update],
        *,
        first_element: int = 0,
    ) -> None:
        assert not first_element, "what is drawn in sequence has no parts"
        lr_first = parameter.name in self._lr_first
        for one in updates:
            directions = ((d.g, self._drawn[d.key].z(parameter.name)) for d in one.draws)
            if lr_first and not one.weight_decay:
                ((g, z),) = directions
                mezo.update_lr_first(theta, g, z, lr=one.lr)
            else:
                mezo.update(theta, directions, lr=one.lr, weight_decay=one.weight_decay)
