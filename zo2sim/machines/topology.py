"""How the devices of a computer are connected, as `nvidia-smi topo -m` prints it.

The table has a row per device and a column per device and network card: ``NV12`` bonds of NVLink,
``PIX`` and ``PXB`` within one switch, ``PHB`` and ``NODE`` within one socket, ``SYS`` across. Then
come columns for processors and memory nodes that are near; old drivers print fewer of them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from zo2sim.machines.node import Groups

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_DEVICE = re.compile(r"GPU\d+")
_BOND = re.compile(r"NV(\d+)")
_SWITCHED = ("PIX", "PXB")
_NEAR = ("PIX", "PXB", "PHB", "NODE")
_KNOWN = re.compile(r"X|NV\d+|PIX|PXB|PHB|NODE|SYS|SOC|N/A")
_NUMA = re.compile(r"\d+(?:[-,]\d+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Devices by what they share; ``bonds`` is the number of NVLinks of a pair, 0 without, and
    ``straight`` says that every pair reaches each other over PCIe."""

    devices: int
    uplinks: Groups
    sockets: Groups
    nvlinked: Groups
    bonds: int
    straight: bool = False


def read(text: str, peers: str = "") -> Topology:
    """What the table says; ``peers`` is what `nvidia-smi topo -p2p r` prints, where it is known.

    Raises ``ValueError`` where it has no device, or a row that is torn.

    Two devices share an uplink where they are within one switch. NVLink hides that, so devices with
    NVLink share one where the same network cards are within their switch.
    """
    columns, rows = _table(text)
    names = [name for name in columns if _DEVICE.fullmatch(name)]
    links = {(one, other): rows[one][columns.index(other)] for one in names for other in names}
    cards = {one: _switched(one, columns, rows) for one in names}
    numa = {one: _numa(text, one, len(columns)) for one in names}

    def on_one_switch(one: str, other: str) -> bool:
        link = links[one, other]
        behind = bool(_BOND.fullmatch(link)) and bool(cards[one]) and cards[one] == cards[other]
        return link in _SWITCHED or behind

    def on_one_socket(one: str, other: str) -> bool:
        if numa[one] and numa[other]:
            return numa[one] == numa[other]
        return links[one, other] in _NEAR or bool(_BOND.fullmatch(links[one, other]))

    return Topology(
        devices=len(names),
        uplinks=_grouped(names, on_one_switch),
        sockets=_grouped(names, on_one_socket),
        nvlinked=tuple(
            group
            for group in _grouped(names, lambda a, b: bool(_BOND.fullmatch(links[a, b])))
            if len(group) > 1
        ),
        bonds=max((int(m[1]) for v in links.values() if (m := _BOND.fullmatch(v))), default=0),
        straight=_straight(peers),
    )


def with_paths(found: Topology, paths: Sequence[str], numa: Sequence[int]) -> Topology:
    """The same with what the kernel says: where devices are on the bus, and near which memory.

    Devices share an uplink where their paths (``/sys/devices/pci0000:00/0000:00:01.1/...``) begin
    with the same port of the host. Numbers below 0 say that no memory is nearer than another.
    """
    ports = [_port(path) for path in paths]
    numbers = range(found.devices)
    uplinks = [[b for b in numbers if ports[b] == ports[a]] for a in numbers]
    sockets = [[b for b in numbers if numa[b] == numa[a]] for a in numbers]
    return replace(
        found,
        uplinks=tuple(sorted({tuple(group) for group in uplinks})),
        sockets=tuple(sorted({tuple(group) for group in sockets})),
    )


def _port(path: str) -> str:
    """Host bridge and the port below it: the first two parts after ``devices``."""
    return "/".join(path.partition("/devices/")[2].split("/")[:2])


def _lines(text: str) -> list[str]:
    return [_ESCAPES.sub("", line) for line in text.splitlines()]


def _table(text: str) -> tuple[list[str], Mapping[str, list[str]]]:
    """Columns before those of processors, and the rows of devices."""
    rows = [line for line in _lines(text) if _DEVICE.match(line.strip())]
    head = next((line for line in rows if "X" not in line.split()), None)
    if head is None or len(rows) < 2:
        raise ValueError("a topology must be what nvidia-smi topo -m prints; it has no GPU0")
    columns = head.partition("CPU Affinity")[0].split()
    words = [line.split() for line in rows if line is not head]
    found = {name: row[: len(columns)] for name, *row in words}
    for name in filter(_DEVICE.fullmatch, columns):
        _check_row(name, found.get(name, []), columns)
    return columns, found


def _check_row(name: str, row: Sequence[str], columns: Sequence[str]) -> None:
    if len(row) < len(columns) or not all(_KNOWN.fullmatch(word) for word in row):
        raise ValueError(
            f"a topology's row must have {len(columns)} connections, as NV12, PIX, PXB, PHB, NODE "
            f"or SYS; {name} has {' '.join(row) or 'no row'}"
        )


def _switched(
    device: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]
) -> frozenset[str]:
    """Network cards within the switch of a device."""
    pairs = zip(columns, rows[device], strict=True)
    return frozenset(c for c, link in pairs if link in _SWITCHED and not _DEVICE.fullmatch(c))


def _numa(text: str, device: str, count: int) -> str:
    """The memory node that a device is near; empty where the table does not say it.

    Processors stand before it, as ``0-31,64-95``; where they are left out, nothing tells which
    column a number is in.
    """
    lines = _lines(text)
    if not any("NUMA Affinity" in line for line in lines):
        return ""
    row = next(line for line in lines if line.split()[:1] == [device] and "X" in line.split())
    rest = row.split()[1 + count :]
    return rest[1] if len(rest) > 1 and _NUMA.fullmatch(rest[1]) else ""


def _straight(peers: str) -> bool:
    """Whether the table of peers has a row per device and OK for every other one."""
    rows = [line.split() for line in _lines(peers) if _DEVICE.match(line.strip())]
    pairs = [word for row in rows if "X" in row for word in row[1:] if word != "X"]
    return bool(pairs) and all(word == "OK" for word in pairs)


def _grouped(names: Sequence[str], together: Callable[[str, str], bool]) -> Groups:
    """Devices that are together with one of the group, in order."""
    groups: list[list[int]] = []
    for number, name in enumerate(names):
        own = [g for g in groups if any(together(names[other], name) for other in g)]
        joined = sorted({number, *(one for group in own for one in group)})
        groups = [*(g for g in groups if g not in own), joined]
    return tuple(sorted(tuple(group) for group in groups))
