"""The weights that lanes run with: W+ and W- of everything that a unit reads.

[Note: base] W is built from its base. That is theta; or, where the wire changes a block's format,
what the wire makes of theta, brought to the compute dtype. A block that stays on the device goes
through the same codec, so residency changes no bit.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, final

from torch import Tensor

from zo2rt.backends import Backend
from zo2rt.model.codec import decode, recode
from zo2rt.model.scales import SCALES
from zo2rt.model.units import Unit, UnitParameter, Units
from zo2rt.noise.draws import Both, Draws
from zo2rt.weights.device_arena import DeviceArena
from zo2sim.policies import Layout
from zo2sim.schedule.ops import HEAD

Named = dict[str, Tensor]
"""Tensors by the name of their parameter."""


Needs = Callable[[int, str], bool]
"""Whether some lane runs with the weights of a sample and a sign."""


def always(sample: int, sign: str) -> bool:
    """Every sample has lanes of both signs."""
    return True


class Built(NamedTuple):
    """Weights of one sign and sample, in the order of ``Unit.reads``."""

    sample: int
    sign: str
    tensors: Sequence[Tensor]


class LaneWeights(ABC):
    """Builds weights in the order in which a FORWARD runs its lanes."""

    def __init__(
        self, backend: Backend, units: Units, arena: DeviceArena, layout: Layout, draws: Draws
    ) -> None:
        self._backend = backend
        self._units = units
        self._arena = arena
        self._layout = layout
        self._draws = draws
        self._owner = {p.name: unit for unit in units.order for p in unit.parameters}

    @abstractmethod
    def perturbed(
        self,
        unit: Unit,
        lanes: str,
        keys: Sequence[int],
        eps: float,
        *,
        needs: Needs = always,
    ) -> Iterator[Built]:
        """W+ and W- of every sample; each holds until the next one is asked for.

        Those that no lane needs may be left out.
        """

    def unperturbed(self, unit: Unit) -> Sequence[Tensor]:
        """theta in the compute dtype."""
        if not self._layout.converts(unit.number):
            return _in_order(unit, self._theta(unit))
        weights = self._room(unit, 0) | self._frozen(unit)
        bases = self._bases(unit, weights)
        for p in self._arena.formats.perturbed(unit):
            if bases[p.name] is not weights[p.name]:
                weights[p.name].copy_(bases[p.name])
        self._rescale(unit, weights)
        return _in_order(unit, weights)

    def _theta(self, unit: Unit) -> Named:
        """Weights where they are on the device: the unit's own, and what it borrows."""
        found: Named = {}
        for owner in {self._owner[p.name].number: self._owner[p.name] for p in unit.reads}.values():
            names = [p.name for p in owner.parameters]
            found |= zip(names, self._arena.theta(owner), strict=True)
        return {p.name: found[p.name] for p in unit.reads}

    def _room(self, unit: Unit, copy: int) -> Named:
        """Where W+ or W- of what is trained goes."""
        parameters = self._arena.formats.perturbed(unit)
        if not parameters:
            return {}
        return _named(parameters, self._arena.perturbed(parameters, copy))

    def _frozen_room(self, unit: Unit) -> Named:
        parameters = self._arena.formats.decoded(unit)
        return _named(parameters, self._arena.decoded(parameters))

    def _frozen(self, unit: Unit) -> Named:
        """What is not trained, in the compute dtype."""
        room, theta = self._frozen_room(unit), self._theta(unit)
        encoded = self._arena.encoded(unit)
        wired = {p.name for p in unit.parameters} if self._recoded(unit) else set[str]()
        trained = {p.name for p in unit.reads if p.trainable}
        for name, tensor in room.items():
            if name in encoded:
                if name + SCALES not in trained:  # else `_rescale` does it, for every sign
                    encoded[name].decode(tensor)
            elif name not in wired:
                tensor.copy_(theta[name])
        return {p.name: theta[p.name] for p in unit.reads if not p.trainable} | room

    def _rescale(self, unit: Unit, scales: Named) -> None:
        """Decode what has trained scales with these; lanes of another sign have run by now."""
        encoded = self._arena.encoded(unit)
        for name, tensor in self._frozen_room(unit).items():
            if name + SCALES in scales:
                replace(encoded[name], scales=scales[name + SCALES]).decode(tensor)

    def _bases(self, unit: Unit, room: Named) -> Named:
        """See [Note: base]. What the wire has changed is brought into ``room``."""
        theta = self._theta(unit)
        if not self._recoded(unit):
            return theta
        own = [room[p.name] for p in unit.parameters]
        if self._layout.is_streamed(unit.number):
            decode(self._arena.device(unit), self._arena.formats.slot(unit), own)
        else:
            recode(self._arena.theta(unit), self._layout.recipe.wire_dtype, own)
        return theta | {p.name: room[p.name] for p in unit.parameters}

    def _recoded(self, unit: Unit) -> bool:
        """The codec is between the unit's device buffer and what a lane runs with."""
        recipe = self._layout.recipe
        return recipe.recoded and unit.number >= 0 and self._layout.converts(unit.number)

    def _perturb(
        self, out: Tensor, base: Tensor, parameter: UnitParameter, key: int, scaled_eps: float
    ) -> None:
        self._backend.touch(reads=(base,), writes=(out,))
        self._draws.perturb(out, base, parameter, key=key, scaled_eps=scaled_eps)


@final
class ScratchWeights(LaneWeights):
    """W+ and W- beside theta, which stays as it is."""

    def perturbed(
        self,
        unit: Unit,
        lanes: str,
        keys: Sequence[int],
        eps: float,
        *,
        needs: Needs = always,
    ) -> Iterator[Built]:
        frozen, copies = self._frozen(unit), len(self._arena.scratch)
        for sample, key in enumerate(keys):
            signs = "".join(sign for sign in lanes if needs(sample, sign))
            for together in (signs,) if copies == 2 else signs:
                self._fill(unit, together, frozen, key, eps)
                for sign in together:
                    yield Built(sample, sign, self._filled(unit, sign, frozen))

    def build(self, unit: Unit, signs: str, key: int, eps: float) -> None:
        """W of some signs of the only sample, ahead of its lanes."""
        self._fill(unit, signs, self._frozen(unit), key, eps)

    def found(self, unit: Unit, sign: str) -> Sequence[Tensor]:
        """W of a sign, which `build` has left in scratch."""
        theta, room = self._theta(unit), self._frozen_room(unit)
        frozen = {p.name: theta[p.name] for p in unit.reads if not p.trainable} | room
        return self._filled(unit, sign, frozen)

    def _filled(self, unit: Unit, sign: str, frozen: Named) -> Sequence[Tensor]:
        built = self._room(unit, self._copy_of(sign))
        self._rescale(unit, built)
        return _in_order(unit, built | frozen)

    def _copy_of(self, sign: str) -> int:
        """The scratch buffer of a sign: its own, or the only one."""
        return "+-".index(sign) if len(self._arena.scratch) == 2 else 0

    def _fill(self, unit: Unit, signs: str, frozen: Named, key: int, eps: float) -> None:
        """Both signs from one draw of the noise, where W- does not need a base of its own."""
        if signs == "+-" and not self._recoded(unit):
            self._both(unit, key, eps)
            return
        for sign in signs:
            self._one(unit, sign, frozen, key, eps if sign == "+" else -eps)

    def _one(self, unit: Unit, sign: str, frozen: Named, key: int, scaled_eps: float) -> None:
        room = self._room(unit, self._copy_of(sign))
        bases = self._bases(unit, room | frozen)
        for p in self._arena.formats.perturbed(unit):
            self._perturb(room[p.name], bases[p.name], p, key, scaled_eps)

    def _both(self, unit: Unit, key: int, eps: float) -> None:
        theta, plus, minus = self._theta(unit), self._room(unit, 0), self._room(unit, 1)
        for p in self._arena.formats.perturbed(unit):
            both = Both(plus[p.name], minus[p.name])
            self._backend.touch(reads=(theta[p.name],), writes=both)
            self._draws.perturb_both(both, theta[p.name], p, key=key, eps=eps)


@final
class InPlaceWeights(LaneWeights):
    """MeZO's way: theta itself becomes W+, then W-, and is not quite itself afterwards.

    [Note: shared in place] A matrix that head and tail share must be W+ again in the tail when the
    head has already been through W-. So the head works on a copy, and the tail, its last reader,
    in place.
    """

    def perturbed(
        self,
        unit: Unit,
        lanes: str,
        keys: Sequence[int],
        eps: float,
        *,
        needs: Needs = always,
    ) -> Iterator[Built]:
        """All of them, needed or not: what theta becomes depends on every shift."""
        trained = [p for p in unit.reads if p.trainable]
        weights = self._theta(unit) | self._copies(unit)
        for sample, key in enumerate(keys):
            for sign in lanes:
                self._shift(trained, weights, key, eps if sign == "+" else -2.0 * eps)
                yield Built(sample, sign, _in_order(unit, weights))
            if lanes.endswith("-"):
                self._shift(trained, weights, key, eps)

    def _shift(
        self, trained: Iterable[UnitParameter], weights: Named, key: int, scaled_eps: float
    ) -> None:
        for p in trained:
            self._perturb(weights[p.name], weights[p.name], p, key, scaled_eps)

    def _copies(self, unit: Unit) -> Named:
        """See [Note: shared in place]."""
        shared = self._units.shared if unit.number == HEAD else ()
        if not shared:
            return {}
        theta, copies = self._theta(unit), _named(shared, self._arena.perturbed(shared, 0))
        for name, tensor in copies.items():
            tensor.copy_(theta[name])
        return copies


def _named(parameters: Iterable[UnitParameter], tensors: Iterable[Tensor]) -> Named:
    return {p.name: tensor for p, tensor in zip(parameters, tensors, strict=True)}


def _in_order(unit: Unit, weights: Named) -> list[Tensor]:
    return [weights[p.name] for p in unit.reads]
