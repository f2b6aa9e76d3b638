"""A node: several equal devices in one computer, what they share, and how they reach each other.

Devices are numbered from 0. An `uplink` is what the devices behind one switch share on their way to
the host; a device alone behind its own port shares nothing. A `socket` has memory of its own, and
copies from another socket's are slower. `[node]` of a machine file holds it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log
from typing import Literal, cast

from zo2sim.checks import shown
from zo2sim.machines.quantity import Quantity, check_part, within

Groups = tuple[tuple[int, ...], ...]
"""Devices by what they share."""
Route = Literal["nvlink", "p2p", "host"]

_RATE = within(1e6, 1e13)
MOST_DEVICES = 64
LISTS = ("uplinks", "sockets", "nvlinked")
"""Lists of lists of devices, in a file as in the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Several devices of one kind, and rates of what lies between them.

    The ``uplink_`` rates are those of one uplink, a direction alone and (``both_``) with the other
    one busy. ``socket_dram_bytes_per_s`` is one socket's; ``far_ratio`` is the share of a link's
    rate that is left when the memory is another socket's.

    Between two devices: by NVLink where both are in one list of ``nvlinked``, else straight over
    PCIe where the cards can (``p2p_bytes_per_s``), else down to the host and up again
    (``hop_bytes_per_s``). ``gather2_bytes_per_s`` and so on: the whole of a buffer over the time
    in which 2, 4 or 8 devices, each with its slice, all gather it.
    """

    devices: int
    uplinks: Groups
    sockets: Groups
    nvlinked: Groups = ()
    uplink_h2d_bytes_per_s: Quantity = field(metadata=_RATE)
    uplink_d2h_bytes_per_s: Quantity = field(metadata=_RATE)
    uplink_both_h2d_bytes_per_s: Quantity = field(metadata=_RATE)
    uplink_both_d2h_bytes_per_s: Quantity = field(metadata=_RATE)
    socket_dram_bytes_per_s: Quantity = field(metadata=within(1e8, 1e14))
    far_ratio: Quantity = field(metadata=within(0.01, 1.0))
    peer_latency_s: Quantity = field(metadata=within(1e-9, 1e-1))
    hop_bytes_per_s: Quantity = field(metadata=_RATE)
    p2p_bytes_per_s: Quantity | None = field(default=None, metadata=_RATE)
    nvlink_bytes_per_s: Quantity | None = field(default=None, metadata=_RATE)
    gather2_bytes_per_s: Quantity | None = field(default=None, metadata=_RATE)
    gather4_bytes_per_s: Quantity | None = field(default=None, metadata=_RATE)
    gather8_bytes_per_s: Quantity | None = field(default=None, metadata=_RATE)

    def __post_init__(self) -> None:
        _check_count(self.devices)
        for name in LISTS:
            object.__setattr__(self, name, _groups(name, getattr(self, name), self.devices))
        for name in LISTS[:2]:
            _check_all_listed(name, getattr(self, name), self.devices)
        check_part("node", self)
        for way in ("h2d", "d2h"):
            _check_both_ways(way, getattr(self, f"uplink_{way}_bytes_per_s"), self._both(way))
        if self.nvlinked and self.nvlink_bytes_per_s is None:
            raise ValueError(
                "node.nvlinked needs node.nvlink_bytes_per_s; got lists of devices and no rate"
            )

    def of(self, count: int) -> "Node":
        """The node that so many of its devices make, numbered again: those of `spread`."""
        if count == self.devices:
            return self
        numbers = {device: number for number, device in enumerate(self.spread(count))}
        lists = {name: _kept(getattr(self, name), numbers) for name in LISTS}
        return replace(self, devices=count, **lists)

    def spread(self, count: int) -> tuple[int, ...]:
        """Which devices to take where so many are wanted: behind as many uplinks and near as many
        sockets as there are, in order of their numbers."""
        turns = {device: group.index(device) for group in self.uplinks for device in group}
        sockets = {device: group.index(device) for group in self.sockets for device in group}
        best = sorted(range(self.devices), key=lambda device: (turns[device], sockets[device]))
        return tuple(sorted(best[:count]))

    def uplink_of(self, device: int) -> int:
        """The uplink that a device is behind."""
        return _number_of(self.uplinks, device)

    def socket_of(self, device: int) -> int:
        """The socket that a device is near."""
        return _number_of(self.sockets, device)

    def route(self, one: int, other: int) -> Route:
        """How bytes get from one device to another one."""
        if any(one in group and other in group for group in self.nvlinked):
            return "nvlink"
        return "host" if self.p2p_bytes_per_s is None else "p2p"

    def peer_bytes_per_s(self, one: int, other: int) -> Quantity:
        """The rate of a copy from one device to another one, alone."""
        rates = {
            "nvlink": self.nvlink_bytes_per_s,
            "p2p": self.p2p_bytes_per_s,
            "host": self.hop_bytes_per_s,
        }
        return cast(Quantity, rates[self.route(one, other)])

    def gather_bytes_per_s(self, count: int) -> float | None:
        """Bytes of the whole buffer per second when so many devices gather it; None where nobody
        measured it. Between and beyond counts that were measured, along a power of the count."""
        known = {n: q.value for n, q in self._gathers.items() if q is not None}
        if not known:
            return None
        if count in known or len(known) == 1:
            return known.get(count, next(iter(known.values())))
        low, high = _around(count, sorted(known))
        slope = log(known[high] / known[low]) / log(high / low)
        return known[low] * exp(slope * log(count / low))

    def measured_gather(self, count: int) -> Quantity | None:
        """The gather that was measured with so many devices, if one was."""
        return self._gathers.get(count)

    @property
    def shape(self) -> str:
        """What it is like, in words: ``8 devices behind 4 uplinks, 2 sockets, NVLink``."""
        uplinks = (
            "" if len(self.uplinks) == self.devices else f" behind {len(self.uplinks)} uplinks"
        )
        sockets = f"{len(self.sockets)} socket{'' if len(self.sockets) == 1 else 's'}"
        return f"{self.devices} devices{uplinks}, {sockets}, {self._between}"

    @property
    def _between(self) -> str:
        if self.nvlinked:
            return "NVLink" if len(self.nvlinked) == 1 else f"NVLink within {len(self.nvlinked)}"
        return "peers through the host" if self.p2p_bytes_per_s is None else "peers over PCIe"

    @property
    def _gathers(self) -> dict[int, Quantity | None]:
        return {
            2: self.gather2_bytes_per_s,
            4: self.gather4_bytes_per_s,
            8: self.gather8_bytes_per_s,
        }

    def _both(self, way: str) -> Quantity:
        return getattr(self, f"uplink_both_{way}_bytes_per_s")


def is_list(key: str) -> bool:
    """Whether a dotted key of a machine file is a count or a list of the node, and no number."""
    return key in ("node.devices", *(f"node.{name}" for name in LISTS))


def _check_count(devices: object) -> None:
    if (
        isinstance(devices, bool)
        or not isinstance(devices, int)
        or not 2 <= devices <= MOST_DEVICES
    ):
        raise ValueError(
            f"node.devices must be a whole number from 2 to {MOST_DEVICES}; got {shown(devices)}; "
            "a machine with one device has no [node]"
        )


def _groups(name: str, value: object, devices: int) -> Groups:
    return tuple(_group(name, one, devices) for one in _items(name, value))


def _group(name: str, value: object, devices: int) -> tuple[int, ...]:
    found: list[int] = []
    items = _items(name, value)
    if not items:
        raise ValueError(_must(name, value))
    for device in items:
        if isinstance(device, bool) or not isinstance(device, int):
            raise ValueError(_must(name, value))
        found.append(device)
    outside = [d for d in found if not 0 <= d < devices]
    if outside:
        raise ValueError(f"node.{name} must name devices 0 to {devices - 1}; got {outside[0]}")
    return tuple(found)


def _items(name: str, value: object) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise ValueError(_must(name, value))
    return cast(Sequence[object], value)


def _must(name: str, value: object) -> str:
    return f"node.{name} must be lists of devices, as [[0, 1], [2, 3]]; got {shown(value)}"


def _check_all_listed(name: str, groups: Iterable[Iterable[int]], devices: int) -> None:
    """Every device belongs to one uplink and one socket."""
    listed = sorted(device for group in groups for device in group)
    if listed != list(range(devices)):
        raise ValueError(
            f"node.{name} must list each of the {devices} devices once; got {shown(listed)}"
        )


def _check_both_ways(way: str, alone: Quantity, both: Quantity) -> None:
    if both.value > alone.value:
        raise ValueError(
            f"node.uplink_both_{way}_bytes_per_s must not exceed node.uplink_{way}_bytes_per_s (a "
            f"direction is no faster with the other one busy); got {both.value:g} and "
            f"{alone.value:g} B/s"
        )


def _kept(groups: Groups, numbers: Mapping[int, int]) -> Groups:
    """The groups of the devices that are kept, by their new numbers."""
    kept = (tuple(numbers[device] for device in group if device in numbers) for group in groups)
    return tuple(group for group in kept if group)


def _number_of(groups: Groups, device: int) -> int:
    return next(number for number, group in enumerate(groups) if device in group)


def _around(count: int, known: list[int]) -> tuple[int, int]:
    """The two known counts on both sides of one, or the two nearest at an end."""
    position = next((n for n, one in enumerate(known) if one >= count), len(known) - 1)
    position = max(position, 1)
    return known[position - 1], known[position]
