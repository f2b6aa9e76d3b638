"""Buffers: what a plan needs of device and host memory, allocated once, before the first step."""

from dataclasses import replace

import torch
from torch import Tensor

from zo2rt.backends import Backend
from zo2rt.codec import encode, views
from zo2rt.units import Unit, Units
from zo2sim.dtypes import Dtype
from zo2sim.policies import Layout


class Arena:
    """Slots, scratch, resident units and the host's blocks, each a flat uint8 buffer.

    The weights that the model has are copied in. ``dtype`` is the storage dtype.
    """

    def __init__(self, backend: Backend, units: Units, layout: Layout, dtype: Dtype) -> None:
        self._layout = layout
        self._dtype = dtype
        streamed = [units[n] for n in layout.streamed]
        slot_bytes = max((u.layout(dtype).num_bytes for u in streamed), default=0)
        scratch_bytes = max(reads(u).layout(dtype).num_bytes for u in units.order)
        pinned = layout.plan.pinning != "pageable"
        self.slots = [backend.device_buffer(slot_bytes) for _ in range(layout.num_slots)]
        self.scratch = [backend.device_buffer(scratch_bytes) for _ in layout.scratch()]
        self.host: dict[int, Tensor] = {}
        self.resident: dict[int, Tensor] = {}
        for unit in units.order:
            nbytes = unit.layout(dtype).num_bytes
            if layout.is_streamed(unit.number):
                home = self.host[unit.number] = backend.host_buffer(nbytes, pinned=pinned)
            else:
                home = self.resident[unit.number] = backend.device_buffer(nbytes)
            with torch.no_grad():
                encode([p.tensor for p in unit.parameters], home, unit.layout(dtype))

    @property
    def device_bytes(self) -> int:
        """Slots, scratch and resident units."""
        buffers = (*self.slots, *self.scratch, *self.resident.values())
        return sum(buffer.numel() for buffer in buffers)

    def home(self, unit: Unit) -> tuple[Tensor, ...]:
        """The unit's weights where they are between visits: on the host, or resident."""
        buffer = self.host.get(unit.number, self.resident.get(unit.number))
        assert buffer is not None, f"{unit.name} has a home"
        return self._views(buffer, unit)

    def theta(self, unit: Unit) -> tuple[Tensor, ...]:
        """The unit's weights where it computes: in its slot, or resident."""
        return self._views(self.device(unit), unit)

    def device(self, unit: Unit) -> Tensor:
        """The device buffer that holds the unit while it computes, at the unit's length."""
        if self._layout.is_streamed(unit.number):
            slot = self.slots[self._layout.slot(unit.number)]
            return slot[: unit.layout(self._dtype).num_bytes]
        return self.resident[unit.number]

    def perturbed(self, unit: Unit, copy: int) -> tuple[Tensor, ...]:
        """Room for W+ or W- of all that the unit reads."""
        return self._views(self.scratch[copy], reads(unit))

    def _views(self, buffer: Tensor, unit: Unit) -> tuple[Tensor, ...]:
        layout = unit.layout(self._dtype)
        return views(buffer[: layout.num_bytes], layout)


def reads(unit: Unit) -> Unit:
    """The unit with what it borrows as if it were its own: all that its lanes read."""
    return replace(unit, parameters=(*unit.parameters, *unit.borrowed), borrowed=())
