"""Which cores are near a device: memory lies on the socket of the core that touches it first.

Page-locked memory on the far socket copies at 0.3 to 0.5 of the rate of the near one. Linux tells
which cores are near (Documentation/ABI/testing/sysfs-bus-pci, ``local_cpulist``).
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

PCI = Path("/sys/bus/pci/devices")


@contextmanager
def near(device: torch.device, pci: Path = PCI) -> Iterator[None]:
    """The calling thread runs near the device inside, where the system says what is near."""
    cores = near_cores(device, pci)
    before = os.sched_getaffinity(0) if sys.platform == "linux" else set[int]()
    if not cores or not cores < before:  # all of them, or none that this process may use
        yield
        return
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def near_cores(device: torch.device, pci: Path = PCI) -> set[int]:
    """Cores of the device's socket; none where nobody knows."""
    if device.type != "cuda":
        return set()
    about = torch.cuda.get_device_properties(device)
    try:
        address = f"{about.pci_domain_id:04x}:{about.pci_bus_id:02x}:{about.pci_device_id:02x}.0"
        return _cores((pci / address / "local_cpulist").read_text(encoding="ascii"))
    except (AttributeError, OSError):  # an older PyTorch, or another system
        return set()


def _cores(text: str) -> set[int]:
    """``0-3,8`` as sysfs writes it."""
    spans = (part.partition("-") for part in text.strip().split(",") if part)
    return {n for first, _, last in spans for n in range(int(first), int(last or first) + 1)}
