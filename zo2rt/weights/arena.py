"""Buffers: what a plan needs of device and host memory, allocated once, before the first step.

Each is a flat uint8 tensor. `zo2sim.memory.runtime` accounts for them under the same names, to the
byte.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zo2rt.backends import Backend
from zo2rt.model.codec import WireLayout as Format
from zo2rt.model.codec import encoded, views, write
from zo2rt.model.integers import Encoded, check_finite
from zo2rt.model.units import Unit, UnitParameter, Units
from zo2sim.dtypes import Dtype
from zo2sim.policies import Layout

Weights = Callable[[UnitParameter], Tensor]
"""What a parameter holds when it moves in, or is to hold."""


@dataclass(frozen=True, slots=True)
class Formats:
    """In which format each buffer holds a unit, and how many bytes that takes."""

    units: Units
    layout: Layout

    def home(self, unit: Unit) -> Format:
        """Master weights: on the host, on NVMe, or resident. Integer formats are for blocks."""
        recipe = self.layout.recipe
        dtype = recipe.storage_dtype if unit.number >= 0 else recipe.plain_dtype
        return unit.layout(dtype, recipe.plain_dtype)

    def slot(self, unit: Unit) -> Format:
        """A streamed block as it arrives on the device."""
        return unit.layout(self.layout.recipe.wire_dtype, self.layout.recipe.plain_dtype)

    @property
    def slot_bytes(self) -> int:
        """The largest streamed unit on the wire."""
        streamed = (self.units[n] for n in self.layout.streamed)
        return max((self.slot(u).num_bytes for u in streamed), default=0)

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
        return max(self._compute_bytes(self.perturbed(u)) for u in self.units.order)

    @property
    def decoded_bytes(self) -> int:
        return max(self._compute_bytes(self.decoded(u)) for u in self.units.order)

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
        return len({b for n in self.layout.units for b in self.layout.scratch(n, "+-")})


class Arena:
    """Slots, scratch, resident units and the host's buffers of one run.

    Attributes are flat buffers by slot, by scratch copy, or by unit.

    [Note: views] Buffers never move, so what an operation needs of them is cut once. Cutting anew
    took 30 us of every copy and 90 us of every pass over a block, and while a copy's thread holds
    the interpreter, the lanes stand still.
    """

    def __init__(self, backend: Backend, units: Units, layout: Layout) -> None:
        self.formats = formats = Formats(units, layout)
        self._units, self._layout = units, layout
        self._backend = backend
        slots, slot_bytes = range(layout.num_slots), formats.slot_bytes
        nvme, recoded = layout.plan.tier == "nvme", layout.recipe.recoded
        self.slots = [backend.device_buffer(slot_bytes) for _ in slots]
        self.scratch = [
            backend.device_buffer(formats.scratch_bytes) for _ in range(formats.num_scratch)
        ]
        decoded = formats.decoded_bytes
        self.decoded_frozen = backend.device_buffer(decoded) if decoded else None
        self.wire = [self._host(slot_bytes) for _ in slots if recoded]
        self.stage_in = [self._host(slot_bytes) for _ in slots if nvme]
        self.stage_out = [self._host(slot_bytes) for _ in slots if nvme]
        self.host: dict[int, Tensor] = {}
        self.resident: dict[int, Tensor] = {}
        self._views: dict[Hashable, tuple[Tensor, ...]] = {}
        self._encoded: dict[int, dict[str, Encoded]] = {}

    def _host(self, nbytes: int) -> Tensor:
        pinning = self._layout.plan.pinning
        if pinning == "staged":
            raise ValueError(
                "pinning must be exact, rounded or pageable in a run; got staged, which is "
                "predicted for codes that copy through page-locked buffers of several threads"
            )
        return self._backend.host_buffer(nbytes, pinned=pinning != "pageable")

    @property
    def device_bytes(self) -> int:
        """Slots, scratch and resident units."""
        frozen = [] if self.decoded_frozen is None else [self.decoded_frozen]
        buffers = (*self.slots, *self.scratch, *frozen, *self.resident.values())
        return sum(buffer.numel() for buffer in buffers)

    def take_in(self, unit: Unit, weights: Weights) -> None:
        """Give a unit its home, and copy its weights there. Blocks on NVMe have none here."""
        home, nbytes = self.formats.home(unit), self.formats.home(unit).num_bytes
        if not self.is_streamed(unit):
            buffer = self.resident[unit.number] = self._resident(nbytes)
        else:
            buffer = self.host[unit.number] = self._host(nbytes)
        fill(unit, weights, buffer, home)

    def _resident(self, nbytes: int) -> Tensor:
        """A tail that owns nothing (of a tied model, or beside adapters) takes nothing."""
        if nbytes:
            return self._backend.device_buffer(nbytes)
        return torch.empty(0, dtype=torch.uint8, device=self._backend.device)

    def home(self, unit: Unit) -> tuple[Tensor, ...]:
        """The unit's master weights where they are between visits: on the host, or resident."""
        return views(self.home_buffer(unit), self.formats.home(unit))

    def home_buffer(self, unit: Unit) -> Tensor:
        """What holds them."""
        buffer = self.host.get(unit.number, self.resident.get(unit.number))
        assert buffer is not None, f"{unit.name} has its home in memory"
        return buffer

    def has_home(self, unit: Unit) -> bool:
        """False for a block that lives on NVMe."""
        return unit.number in self.host or unit.number in self.resident

    def let_go(self, unit: Unit) -> None:
        """Drop the unit's home; its memory is free once nothing shows it any more."""
        self.host.pop(unit.number, None)
        self.resident.pop(unit.number, None)
        for what in ("device", "theta"):
            self._views.pop((what, unit.number), None)
        self._encoded.pop(unit.number, None)

    def is_streamed(self, unit: Unit) -> bool:
        """Whether the unit passes through slots."""
        return self._layout.is_streamed(unit.number)

    def device(self, unit: Unit) -> Tensor:
        """The device buffer that holds the unit while it computes, at the unit's length."""
        (buffer,) = self._cut(("device", unit.number), lambda: (self._device(unit),))
        return buffer

    def _device(self, unit: Unit) -> Tensor:
        if self.is_streamed(unit):
            slot = self.slots[self._layout.slot(unit.number)]
            return slot[: self.formats.slot(unit).num_bytes]
        return self.resident[unit.number]

    def theta(self, unit: Unit) -> tuple[Tensor, ...]:
        """The unit's weights as its device buffer holds them; those of fp8 are not scaled yet, and
        those of integer formats are their codes."""
        return self._cut(("theta", unit.number), lambda: self._theta(unit))

    def encoded(self, unit: Unit) -> Mapping[str, Encoded]:
        """By name, what of the unit its device buffer holds in an integer format."""
        if unit.number not in self._encoded:
            buffer, pieces = self.device(unit), self.formats.home(unit).pieces
            named = zip(unit.parameters, pieces, strict=True)
            self._encoded[unit.number] = {
                p.name: encoded(buffer, piece) for p, piece in named if piece.dtype.is_integer
            }
        return self._encoded[unit.number]

    def _theta(self, unit: Unit) -> tuple[Tensor, ...]:
        form = self.formats.slot(unit) if self.is_streamed(unit) else self.formats.home(unit)
        return views(self.device(unit), form)

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
        assert self.decoded_frozen is not None
        return self._in(self.decoded_frozen, parameters)

    def _in(self, buffer: Tensor, parameters: Sequence[UnitParameter]) -> tuple[Tensor, ...]:
        form = self.formats.compute(parameters)
        return views(buffer[: form.num_bytes], form)

    def staged(self, unit: Unit, buffers: Sequence[Tensor]) -> Tensor:
        """The staging buffer of the unit's slot, at the unit's length on the wire."""
        return buffers[self._layout.slot(unit.number)][: self.formats.slot(unit).num_bytes]


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


def check_encodable(units: Units, formats: Formats, weights: Weights) -> None:
    """Raise the ``ValueError`` of `fill` for weights that an integer format cannot hold."""
    for unit in units.order:
        for parameter, piece in zip(unit.parameters, formats.home(unit).pieces, strict=True):
            if piece.dtype.is_integer:
                with parameter.named_in_errors():
                    check_finite(weights(parameter))
