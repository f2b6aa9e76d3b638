"""Which card computes: its name and memory as NVML has them, and what PyTorch knows of it."""

from dataclasses import dataclass
from typing import Any

import torch

from zo2sim.machines.capability import architecture_of
from zo2sim.machines.machine import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSpecs:
    """``capability`` is CUDA's, as (major, minor)."""

    name: str
    memory_bytes: int
    num_sms: int
    capability: tuple[int, int]

    @property
    def architecture(self) -> Architecture:
        """Class of the machine file; a newer card counts as the newest class that is known."""
        return architecture_of(self.capability)


def read_card(index: int = 0, *, nvml: Any = None) -> CardSpecs:
    """The card that PyTorch numbers ``index``. Without NVML, name and memory are PyTorch's.

    ``nvml`` is the module `pynvml`, or what stands for it in tests.
    """
    known = torch.cuda.get_device_properties(index)
    name, memory_bytes = _told(nvml, str(known.uuid)) or (known.name, known.total_memory)
    return CardSpecs(
        name=name,
        memory_bytes=memory_bytes,
        num_sms=known.multi_processor_count,
        capability=(known.major, known.minor),
    )


def _told(nvml: Any, uuid: str) -> tuple[str, int] | None:
    """NVML numbers cards in another order than PyTorch may, so the card is asked by its UUID."""
    if nvml is None:
        try:
            import pynvml as nvml
        except ImportError:
            return None
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return nvml.nvmlDeviceGetName(handle), int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:
        return None
