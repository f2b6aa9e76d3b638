"""A memory account: named amounts by place, and whether they fit."""

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

from zo2sim.machines.machine import Machine

GIB = 1 << 30
CONTEXT = "CUDA context"
CACHED = "reserved by the allocator, not in use"


class MemoryPlace(StrEnum):
    """Where memory is. ``DISK`` holds files that are not weights in use: the base snapshot."""

    DEVICE = "device"
    HOST = "host"
    NVME = "nvme"
    DISK = "disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Bytes at one place and the allocation that causes them."""

    place: MemoryPlace
    name: str
    num_bytes: int
    cause: str

    def __post_init__(self) -> None:
        if self.num_bytes < 0:
            raise ValueError(f"{self.name}: bytes must be >= 0; got {self.num_bytes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAccount:
    """Everything that one run needs at its peak; ``title`` says what of."""

    title: str
    items: tuple[Item, ...]

    def itemised(self, place: MemoryPlace) -> dict[str, int]:
        """Bytes by name at one place, in the account's order; zeros are left out."""
        return {i.name: i.num_bytes for i in self.items if i.place is place and i.num_bytes}

    @property
    def device_bytes(self) -> int:
        """The whole device, as NVML counts it: context and allocator's slack included."""
        return self._sum(MemoryPlace.DEVICE)

    @property
    def device_nvml_bytes(self) -> int:
        """The same as ``device_bytes``, under the name of what it is compared with."""
        return self.device_bytes

    @property
    def device_allocated_bytes(self) -> int:
        """What `torch.cuda.max_memory_allocated` counts: no context, no slack of segments."""
        device = self.itemised(MemoryPlace.DEVICE)
        return self.device_bytes - device.get(CONTEXT, 0) - device.get(CACHED, 0)

    @property
    def host_bytes(self) -> int:
        return self._sum(MemoryPlace.HOST)

    @property
    def nvme_bytes(self) -> int:
        return self._sum(MemoryPlace.NVME)

    @property
    def disk_bytes(self) -> int:
        return self._sum(MemoryPlace.DISK)

    def _sum(self, place: MemoryPlace) -> int:
        return sum(i.num_bytes for i in self.items if i.place is place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Need against room at one place; ``missing_bytes`` is 0 where it fits."""

    place: MemoryPlace
    needed_bytes: int
    available_bytes: int
    largest: str

    @property
    def missing_bytes(self) -> int:
        return max(0, self.needed_bytes - self.available_bytes)

    @property
    def fits(self) -> bool:
        return self.missing_bytes == 0

    @property
    def sentence(self) -> str:
        """For people: ``device: needs 14.1 GiB of 18.0 GiB, fits``."""
        verdict = "fits"
        if not self.fits:
            verdict = (
                f"{self.missing_bytes / GIB:.1f} GiB missing; the largest part: {self.largest}"
            )
        return (
            f"{self.place}: needs {self.needed_bytes / GIB:.1f} GiB "
            f"of {self.available_bytes / GIB:.1f} GiB, {verdict}"
        )


def fit(account: MemoryAccount, place: MemoryPlace, available_bytes: float) -> Demand:
    """Compare one place with the bytes that are there; raises ``ValueError`` below 0."""
    if available_bytes < 0:
        raise ValueError(f"{place}: available bytes must be >= 0; got {available_bytes}")
    parts = account.itemised(place)
    return Demand(
        place=place,
        needed_bytes=sum(parts.values()),
        available_bytes=int(available_bytes),
        largest=max(parts, key=parts.__getitem__, default="nothing"),
    )


def room(machine: Machine) -> dict[MemoryPlace, float]:
    """Bytes that a machine has at device, host and NVMe; one without NVMe has 0 bytes of it."""
    return {
        MemoryPlace.DEVICE: machine.device.memory_bytes.value,
        MemoryPlace.HOST: machine.host.memory_bytes.value,
        MemoryPlace.NVME: 0.0 if machine.nvme is None else machine.nvme.capacity_bytes.value,
    }


def fits(account: MemoryAccount, machine: Machine) -> tuple[Demand, ...]:
    """Device, host and NVMe against a machine."""
    return tuple(fit(account, place, available) for place, available in room(machine).items())


def require(account: MemoryAccount, machine: Machine) -> None:
    """Raise ``ValueError`` that names every place that is too small, and by how much."""
    short = [f.sentence for f in fits(account, machine) if not f.fits]
    if short:
        raise ValueError(
            f"{account.title} must fit {machine.name}: {'; '.join(short)}; "
            f"try a smaller batch or fewer slots, resident blocks or lanes"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryConstants:
    """``context_bytes``: NVML's figure less the allocator's segments; ``process_bytes``: host."""

    context_bytes: int
    process_bytes: int

    def __post_init__(self) -> None:
        if self.context_bytes < 0 or self.process_bytes < 0:
            raise ValueError(
                f"context_bytes and process_bytes must be >= 0; "
                f"got {self.context_bytes}, {self.process_bytes}"
            )


@cache
def load_constants() -> MemoryConstants:
    """The constants that ship with the package; the file says where each comes from."""
    text = files("zo2sim").joinpath("data/memory_constants.toml").read_text("utf-8")
    table = tomllib.loads(text)
    return MemoryConstants(
        context_bytes=table["context"]["bytes"], process_bytes=table["process"]["bytes"]
    )
