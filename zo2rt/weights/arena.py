"""Buffers: what a plan needs of device and host memory, allocated once, before the first step.

Each is a flat uint8 tensor. `zo2sim.memory.runtime` accounts for them under the same names, to the
byte.
"""

from collections.abc import Sequence

from torch import Tensor

from zo2rt.backends import Backend
from zo2rt.model.codec import views
from zo2rt.model.units import Unit, Units
from zo2rt.weights.device_arena import DeviceArena
from zo2rt.weights.formats import Formats, Weights, fill
from zo2sim.policies import Layout


class Arena:
    """Every device's buffers, and the host's, of one run.

    Attributes of the host are flat buffers by unit, or by device and slot. A unit that stays is on
    every device that runs it, and at home on the first of them.
    """

    def __init__(self, backend: Backend, units: Units, layout: Layout) -> None:
        self.formats = Formats(units, layout)
        self._layout = layout
        self._backend = backend
        nvme, recoded = layout.plan.tier == "nvme", layout.recipe.recoded
        self.devices = tuple(
            DeviceArena(backend, self.formats.on(n)) for n in range(layout.plan.devices)
        )
        self.wire = self._staging(used=recoded)
        self.stage_in = self._staging(used=nvme)
        self.stage_out = self._staging(used=nvme)
        self.host: dict[int, Tensor] = {}

    def _staging(self, *, used: bool) -> list[list[Tensor]]:
        """As many host buffers as every device has slots; none where they are not ``used``."""
        formats = (here.formats for here in self.devices if used)
        return [
            [self._host(f.slot_bytes, device=f.number) for _ in range(f.num_slots)] for f in formats
        ]

    def _host(self, nbytes: int, *, device: int) -> Tensor:
        pinning = self._layout.plan.pinning
        if pinning == "staged":
            raise ValueError(
                "pinning must be exact, rounded or pageable in a run; got staged, which is "
                "predicted for codes that copy through page-locked buffers of several threads"
            )
        return self._backend.host_buffer(nbytes, pinned=pinning != "pageable", device=device)

    @property
    def device_bytes(self) -> int:
        """Slots, scratch and resident units of all devices."""
        return sum(here.num_bytes for here in self.devices)

    def take_in(self, unit: Unit, weights: Weights) -> None:
        """Give a unit its home, and copy its weights there. Blocks on NVMe have none here."""
        for buffer in self._homes(unit):
            fill(unit, weights, buffer, self.formats.home(unit))

    def _homes(self, unit: Unit) -> list[Tensor]:
        """New ones: on every device that runs a unit that stays, or on the host."""
        there = self._layout.homes(unit.number)
        if not self.is_streamed(unit):
            return [self.devices[number].settle(unit) for number in there]
        nbytes = self.formats.home(unit).num_bytes
        buffer = self.host[unit.number] = self._host(nbytes, device=there[0])
        return [buffer]

    def home(self, unit: Unit) -> tuple[Tensor, ...]:
        """The unit's master weights where they are between visits: on the host, or resident."""
        return views(self.home_buffer(unit), self.formats.home(unit))

    def home_buffer(self, unit: Unit) -> Tensor:
        """What holds them."""
        buffer = self.host.get(unit.number, self._resident(unit))
        assert buffer is not None, f"{unit.name} has its home in memory"
        return buffer

    def _resident(self, unit: Unit) -> Tensor | None:
        first, *_ = self._layout.homes(unit.number)
        return self.devices[first].resident.get(unit.number)

    def has_home(self, unit: Unit) -> bool:
        """False for a block that lives on NVMe."""
        return unit.number in self.host or self._resident(unit) is not None

    def let_go(self, unit: Unit) -> None:
        """Drop the unit's home; its memory is free once nothing shows it any more."""
        self.host.pop(unit.number, None)
        for here in self.devices:
            here.let_go(unit)

    def is_streamed(self, unit: Unit) -> bool:
        """Whether the unit passes through slots."""
        return self._layout.is_streamed(unit.number)

    def staged(self, unit: Unit, buffers: Sequence[Sequence[Tensor]]) -> Tensor:
        """The staging buffer of the unit's slot, at the unit's length on the wire."""
        first, *_ = self._layout.homes(unit.number)
        buffer = buffers[first][self._layout.slot(unit.number)]
        return buffer[: self.formats.slot(unit).num_bytes]
