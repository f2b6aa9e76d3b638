"""A memory account: named amounts by place, and whether they fit."""

import tomllib
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib.resources import files

from zo2sim.machines.machine import Machine

MIB = 1 << 20
GIB = 1 << 30
CONTEXT = "CUDA context"
CACHED = "reserved by the allocator, not in use"
SHARD_BYTES = 2**28
"""Files of a snapshot, and of a saved model, have about this size or hold one tensor."""
_MOST_PARTS = 3  # that a refusal lists


class DoesNotFit(ValueError):
    """More memory is needed than there is: the message says for what, and how much is missing."""


class MemoryPlace(StrEnum):
    """Where memory is. ``DISK`` holds files that are not weights in use: the base snapshot."""

    DEVICE = "device"
    HOST = "host"
    NVME = "nvme"
    DISK = "disk"


_REMEDIES = {
    MemoryPlace.DEVICE: "try fewer slots, resident blocks or scratch copies, or a smaller batch",
    MemoryPlace.HOST: "try tier=nvme, fewer slots, a narrower storage_dtype or a smaller batch, "
    "or end what else takes memory",
    MemoryPlace.NVME: "try tier=ram, or make room on the drive",
    MemoryPlace.DISK: "make room on the disk",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Bytes at one place, on one of several devices, and the allocation that causes them."""

    place: MemoryPlace
    name: str
    num_bytes: int
    cause: str
    device: int = 0

    def __post_init__(self) -> None:
        if self.num_bytes < 0:
            raise ValueError(f"{self.name}: bytes must be >= 0; got {self.num_bytes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAccount:
    """Everything that one run needs at its peak; ``title`` says what of.

    Devices have as much memory as each other, so of several the fullest one counts.
    """

    title: str
    items: tuple[Item, ...]

    def itemised(self, place: MemoryPlace) -> dict[str, int]:
        """Bytes by name at one place, in the account's order; zeros are left out."""
        found: Counter[str] = Counter()
        for item in self._at(place):
            found[item.name] += item.num_bytes
        return {name: num_bytes for name, num_bytes in found.items() if num_bytes}

    def _at(self, place: MemoryPlace) -> tuple[Item, ...]:
        here = tuple(i for i in self.items if i.place is place)
        if place is not MemoryPlace.DEVICE:
            return here
        of = self.by_device
        fullest = max(range(len(of)), key=of.__getitem__)
        return tuple(i for i in here if i.device == fullest)

    @property
    def by_device(self) -> tuple[int, ...]:
        """What each device needs, as NVML counts it."""
        needs = Counter({0: 0})
        for item in self.items:
            if item.place is MemoryPlace.DEVICE:
                needs[item.device] += item.num_bytes
        return tuple(needs[device] for device in range(max(needs) + 1))

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

    @property
    def on_one_memory(self) -> "MemoryAccount":
        """The same where the device computes in the host's memory: both needs add up there."""
        moved = (
            replace(i, place=MemoryPlace.HOST) if i.place is MemoryPlace.DEVICE else i
            for i in self.items
        )
        return replace(self, items=tuple(moved))

    def without(self, names: Container[str]) -> "MemoryAccount":
        """The same less the items of these names."""
        return replace(self, items=tuple(i for i in self.items if i.name not in names))

    def largest(self, place: MemoryPlace) -> tuple[str, ...]:
        """Names of the items at one place, those that take most first."""
        parts = self.itemised(place)
        return tuple(sorted(parts, key=parts.__getitem__, reverse=True))

    def _sum(self, place: MemoryPlace) -> int:
        return sum(i.num_bytes for i in self._at(place))


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
    return Demand(
        place=place,
        needed_bytes=sum(account.itemised(place).values()),
        available_bytes=int(available_bytes),
        largest=next(iter(account.largest(place)), "nothing"),
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


def require(account: MemoryAccount, available: Mapping[MemoryPlace, float]) -> None:
    """Raise `DoesNotFit` that names every place that is too small, and by how much."""
    compared = (fit(account, place, num_bytes) for place, num_bytes in available.items())
    short = [_complaint(account, found) for found in compared if not found.fits]
    if short:
        raise DoesNotFit(f"{account.title} {'; '.join(short)}")


def _complaint(account: MemoryAccount, short: Demand) -> str:
    parts = account.itemised(short.place)
    most = [f"{n} ({show_bytes(parts[n])})" for n in account.largest(short.place)[:_MOST_PARTS]]
    return (
        f"needs {show_bytes(short.needed_bytes)} on the {short.place}, mostly for "
        f"{', '.join(most)}, and {show_bytes(short.available_bytes)} are free for it: "
        f"{show_bytes(short.missing_bytes)} are missing; {_REMEDIES[short.place]}"
    )


def show_bytes(num_bytes: float) -> str:
    """Three significant digits, in the unit that suits."""
    for unit, size, digits in (("GiB", GIB, 2), ("MiB", MIB, 1), ("KiB", 1 << 10, 1)):
        if num_bytes >= size:
            return f"{num_bytes / size:.{digits}f} {unit}"
    return f"{num_bytes:.0f} B"


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
