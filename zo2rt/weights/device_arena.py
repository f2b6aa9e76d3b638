"""The buffers of one device: slots, scratch and resident units, and views of them."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from zo2rt.backends import Backend
from zo2rt.model.codec import encoded, views
from zo2rt.model.integers import Encoded
from zo2rt.model.units import Unit, UnitParameter
from zo2rt.weights.formats import Formats


class Part(NamedTuple):
    """A run of a parameter's elements, and the first of them; mostly it is all of them."""

    parameter: UnitParameter
    tensor: Tensor
    first_element: int = 0


class DeviceArena:
    """What operations of one device work with. Attributes are flat buffers by slot, by scratch
    copy, or by unit.

    [Note: views] Buffers never move, so what an operation needs of them is cut once. Cutting anew
    took 30 us of every copy and 90 us of every pass over a block, and while a copy's thread holds
    the interpreter, the lanes stand still.
    """

    def __init__(self, backend: Backend, formats: Formats) -> None:
        self.formats = formats
        self._layout = formats.layout
        self._backend = backend
        self.slots = [self._new(formats.slot_bytes) for _ in range(formats.num_slots)]
        self.scratch = [self._new(formats.scratch_bytes) for _ in range(formats.num_scratch)]
        decoded = formats.decoded_bytes
        self.decoded_frozen = self._new(decoded) if decoded else None
        self.resident: dict[int, Tensor] = {}
        self._views: dict[Hashable, tuple[Tensor, ...]] = {}
        self._encoded: dict[int, dict[str, Encoded]] = {}

    def _new(self, nbytes: int) -> Tensor:
        return self._backend.device_buffer(nbytes, device=self.formats.number)

    @property
    def num_bytes(self) -> int:
        """Slots, scratch and resident units."""
        frozen = [] if self.decoded_frozen is None else [self.decoded_frozen]
        buffers = (*self.slots, *self.scratch, *frozen, *self.resident.values())
        return sum(buffer.numel() for buffer in buffers)

    def settle(self, unit: Unit) -> Tensor:
        """A home for a unit that stays."""
        nbytes = self.formats.home(unit).num_bytes
        buffer = self.resident[unit.number] = self._new(nbytes) if nbytes else self._nothing
        return buffer

    @property
    def _nothing(self) -> Tensor:
        """Of a tail that owns nothing: of a tied model, or beside adapters."""
        there = self._backend.devices[self.formats.number]
        return torch.empty(0, dtype=torch.uint8, device=there)

    def own(self, unit: Unit) -> slice:
        """The bytes of the unit's buffer that this device uploads, updates and writes back."""
        return self.formats.own(unit)

    def parts(self, unit: Unit) -> tuple[Part, ...]:
        """What this device updates of a unit."""
        own, theta = self.own(unit), self.theta(unit)
        if own == slice(None):
            return tuple(map(Part, unit.parameters, theta))
        key = ("parts", unit.number)
        runs = [*self._runs(unit, own)]
        tensors = self._cut(
            key, lambda: tuple(theta[n].view(-1)[first:last] for n, first, last in runs)
        )
        found = zip(runs, tensors, strict=True)
        return tuple(Part(unit.parameters[n], tensor, first) for (n, first, _), tensor in found)

    def _runs(self, unit: Unit, own: slice) -> Iterator[tuple[int, int, int]]:
        """Number of every parameter that the slice overlaps, and which of its elements."""
        for number, piece in enumerate(self.formats.device(unit).pieces):
            grain = piece.dtype.bytes
            first = max(own.start - piece.start, 0) // grain
            last = min(own.stop - piece.start, piece.values_end - piece.start) // grain
            if first < last:
                yield number, first, last

    def let_go(self, unit: Unit) -> None:
        """Forget the unit; its memory is free once nothing shows it any more."""
        self.resident.pop(unit.number, None)
        for what in ("device", "theta", "parts"):
            self._views.pop((what, unit.number), None)
        self._encoded.pop(unit.number, None)

    def device(self, unit: Unit) -> Tensor:
        """The device buffer that holds the unit while it computes, at the unit's length."""
        (buffer,) = self._cut(("device", unit.number), lambda: (self._device(unit),))
        return buffer

    def _device(self, unit: Unit) -> Tensor:
        if self._layout.is_streamed(unit.number):
            slot = self.slots[self._layout.slot(unit.number)]
            return slot[: self.formats.slot(unit).num_bytes]
        return self.resident[unit.number]

    def theta(self, unit: Unit) -> tuple[Tensor, ...]:
        """The unit's weights as its device buffer holds them; those of fp8 are not scaled yet, and
        those of integer formats are their codes."""
        found = ("theta", unit.number)
        return self._cut(found, lambda: views(self.device(unit), self.formats.device(unit)))

    def encoded(self, unit: Unit) -> Mapping[str, Encoded]:
        """By name, what of the unit its device buffer holds in an integer format."""
        if unit.number not in self._encoded:
            buffer, pieces = self.device(unit), self.formats.home(unit).pieces
            named = zip(unit.parameters, pieces, strict=True)
            self._encoded[unit.number] = {
                p.name: encoded(buffer, piece) for p, piece in named if piece.dtype.is_integer
            }
        return self._encoded[unit.number]

    def _cut(self, what: Hashable, cut: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """See [Note: views]."""
        found = self._views.get(what)
        if found is None:
            found = self._views[what] = cut()
        return found

    def perturbed(self, parameters: Sequence[UnitParameter], copy: int) -> tuple[Tensor, ...]:
        """Room in scratch for W+ or W- of these parameters."""
        indices = tuple(p.index for p in parameters)
        return self._cut((copy, indices), lambda: self._in(self.scratch[copy], parameters))

    def decoded(self, parameters: Sequence[UnitParameter]) -> tuple[Tensor, ...]:
        """Room for frozen weights in the compute dtype."""
        if not parameters:
            return ()
        room = self.decoded_frozen
        assert room is not None
        indices = tuple(p.index for p in parameters)
        return self._cut(("decoded", indices), lambda: self._in(room, parameters))

    def _in(self, buffer: Tensor, parameters: Sequence[UnitParameter]) -> tuple[Tensor, ...]:
        form = self.formats.compute(parameters)
        return views(buffer[: form.num_bytes], form)
