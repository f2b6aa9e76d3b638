"""Which card PyTorch computes on, by names that every library has for it.

PyTorch counts the devices that CUDA_VISIBLE_DEVICES leaves it, in CUDA's order; NVML counts all of
them, in the order of the bus. Only the UUID and the place on the bus mean the same card to both.
"""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """``uuid`` has no prefix, ``pci`` is ``domain:bus:device.0`` in hexadecimal; None: unknown."""

    index: int
    uuid: str | None = None
    pci: str | None = None

    def __str__(self) -> str:
        names = [text for text in (self.uuid, self.pci) if text is not None]
        return f"PyTorch's device {self.index} ({', '.join(names) or 'neither UUID nor bus known'})"

    @classmethod
    def of(cls, index: int, properties: Any) -> "Card":
        """From `torch.cuda.get_device_properties`; versions of PyTorch differ in what it has."""
        uuid = getattr(properties, "uuid", None)
        place = [
            getattr(properties, f"pci_{part}_id", None) for part in ("domain", "bus", "device")
        ]
        known = None not in place
        return cls(
            index=index,
            uuid=None if uuid is None else str(uuid).removeprefix("GPU-").removeprefix("MIG-"),
            pci="{:08X}:{:02X}:{:02X}.0".format(*place) if known else None,
        )


def current_card() -> Card | str:
    """The card of the current device, or the sentence that says why there is none."""
    if not torch.cuda.is_available():
        return "PyTorch computes on no card here"
    index = torch.accelerator.current_device_index()
    return Card.of(index, torch.cuda.get_device_properties(index))
