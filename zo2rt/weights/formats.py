"""In which format each buffer holds a unit, and how many bytes that takes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from zo2rt.model.codec import write
from zo2rt.model.integers import check_finite
from zo2rt.model.layout import WireLayout as Format
from zo2rt.model.units import Unit, UnitParameter, Units
from zo2sim.dtypes import Dtype
from zo2sim.plan.placement import cuts
from zo2sim.policies import Layout

Weights = Callable[[UnitParameter], Tensor]
"""What a parameter holds when it moves in, or is to hold."""


@dataclass(frozen=True, slots=True)
class Formats:
    """In which format each buffer holds a unit, and how many bytes that takes.

    Of what units share, the bytes are those of ``number``, the device that they are on.
    """

    units: Units
    layout: Layout
    number: int = 0

    def on(self, number: int) -> Self:
        """Those of another device."""
        return replace(self, number=number)

    @property
    def held(self) -> tuple[Unit, ...]:
        """Units that the device runs, in execution order."""
        return tuple(u for u in self.units.order if self.number in self.layout.homes(u.number))

    @property
    def streamed(self) -> tuple[Unit, ...]:
        """Of these, the ones that pass through its slots."""
        return tuple(unit for unit in self.held if self.layout.is_streamed(unit.number))

    def home(self, unit: Unit) -> Format:
        """Master weights: on the host, on NVMe, or resident. Integer formats are for blocks."""
        recipe = self.layout.recipe
        dtype = recipe.storage_dtype if unit.number >= 0 else recipe.plain_dtype
        return unit.layout(dtype, recipe.plain_dtype)

    def slot(self, unit: Unit) -> Format:
        """A streamed block as it arrives on the device."""
        return unit.layout(self.layout.recipe.wire_dtype, self.layout.recipe.plain_dtype)

    def device(self, unit: Unit) -> Format:
        """A unit as its device buffer holds it."""
        streamed = self.layout.is_streamed(unit.number)
        return self.slot(unit) if streamed else self.home(unit)

    def own(self, unit: Unit) -> slice:
        """Bytes of a unit's buffer that the device uploads, updates and writes back: all of them,
        or its slice."""
        if not (self.layout.sliced and self.layout.is_streamed(unit.number)):
            return slice(None)
        grain = self.layout.recipe.storage_dtype.bytes
        nbytes = self.slot(unit).num_bytes
        cut = cuts(nbytes // grain, self.layout.plan.devices)[self.number]
        return slice(cut.start * grain, cut.stop * grain)

    @property
    def slot_bytes(self) -> int:
        """The largest streamed unit on the wire."""
        return max((self.slot(unit).num_bytes for unit in self.streamed), default=0)

    @property
    def num_slots(self) -> int:
        return min(self.layout.num_slots, len(self.streamed))

    def perturbed(self, unit: Unit) -> tuple[UnitParameter, ...]:
        """What a FORWARD builds W+ and W- of: all that is trained of what the unit reads."""
        return tuple(p for p in unit.reads if p.trainable)

    def decoded(self, unit: Unit) -> tuple[UnitParameter, ...]:
        """Frozen weights that a lane cannot run with as they are."""
        if not self.layout.converts(unit.number):
            return ()
        storage = self.layout.recipe.storage_dtype
        if storage.is_integer:
            pieces = zip(unit.parameters, self.home(unit).pieces, strict=True)
            return tuple(p for p, piece in pieces if piece.dtype is storage)
        return tuple(p for p in unit.reads if not p.trainable)

    @property
    def scratch_bytes(self) -> int:
        """W+ or W- of the unit that needs most."""
        if self.layout.in_place:
            return self._compute_bytes(self.units.shared)
        return max((self._compute_bytes(self.perturbed(u)) for u in self.held), default=0)

    @property
    def decoded_bytes(self) -> int:
        return max((self._compute_bytes(self.decoded(u)) for u in self.held), default=0)

    def _compute_bytes(self, parameters: Sequence[UnitParameter]) -> int:
        return self.compute(parameters).num_bytes

    def compute(self, parameters: Sequence[UnitParameter]) -> Format:
        """Parameters side by side in the compute dtype."""
        return Format.of(self.layout.recipe.compute_dtype, [p.shape for p in parameters])

    @property
    def num_scratch(self) -> int:
        """Scratch buffers: W+ then W- in one, or one each; in place only for shared weights."""
        if not self.scratch_bytes:
            return 0
        return len({b for u in self.held for b in self.layout.scratch(u.number, "+-")})


def fill(unit: Unit, weights: Weights, buffer: Tensor, form: Format) -> None:
    """`encode` of formats other than fp8, from whatever device the unit's weights are on.

    One of them is in memory at a time, where ``weights`` reads them.
    """
    assert form.num_bytes == buffer.numel()
    with torch.no_grad():
        for parameter, piece in zip(unit.parameters, form.pieces, strict=True):
            assert piece.dtype is not Dtype.FP8
            with parameter.named_in_errors():
                write(weights(parameter), buffer, piece)


def encodable(units: Units, formats: Formats, weights: Weights) -> Weights:
    """These, with the ``ValueError`` of `fill` for a weight that an integer format cannot hold."""
    encoded = {p.name for p in _encoded(units, formats)}

    def checked(parameter: UnitParameter) -> Tensor:
        found = weights(parameter)
        if parameter.name in encoded:
            with parameter.named_in_errors():
                check_finite(found)
        return found

    return checked


def check_encodable(units: Units, formats: Formats, weights: Weights) -> None:
    """Raise the error of `encodable` for any of them."""
    checked = encodable(units, formats, weights)
    for parameter in _encoded(units, formats):
        checked(parameter)


def _encoded(units: Units, formats: Formats) -> Iterator[UnitParameter]:
    for unit in units.order:
        for parameter, piece in zip(unit.parameters, formats.home(unit).pieces, strict=True):
            if piece.dtype.is_integer:
                yield parameter
