"""What this computer says of itself, without measuring: cores, memory, and the card of its driver.

Nothing beside the standard library is needed; a card is asked through `nvidia-smi`, which comes
with its driver.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis.fits.card import base_machine
from zo2sim.machines import topology
from zo2sim.machines.capability import architecture_of
from zo2sim.machines.file import THIS_HOST, named, with_topology
from zo2sim.machines.machine import Machine
from zo2sim.machines.quantity import Provenance
from zo2sim.machines.topology import Topology
from zo2sim.machines.what_if import replace_all

_CPUINFO = Path("/proc/cpuinfo")
_LIMIT = Path("/sys/fs/cgroup/memory.max")
_QUERY = ("--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits")
_MIB = 2**20
_PCI = Path("/sys/bus/pci/devices")
_TOLD: Provenance = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card as its driver has it."""

    name: str
    memory_bytes: float
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """This computer: physical cores and bytes that this process may use, the first card, and how
    it is connected to others of its kind, where there are such."""

    num_cores: int
    memory_bytes: float
    card: Card | None
    topology: Topology | None = None

    @classmethod
    def read(cls) -> "Here":
        cards = _cards()
        return cls(
            num_cores=_cores(),
            memory_bytes=_memory_bytes(),
            card=cards[0] if cards else None,
            topology=_topology(cards),
        )

    @property
    def base(self) -> Machine:
        """The machine of the catalogue that says what this computer does not say of itself."""
        if self.card is None:
            return named(THIS_HOST)
        return base_machine(self.card.name, architecture_of(self.card.capability))

    def machine(self, source: str) -> Machine:
        """What is here, and for the rest what is assumed of `base`."""
        base, card = self.base, self.card
        counts = {"host.memory_bytes": self.memory_bytes, "host.num_cores": float(self.num_cores)}
        if card is None:
            description = "This computer's cores as the device; its rates are placeholders"
            own = replace(base, description=description)
            return replace_all(own, counts, provenance=_TOLD, source=source)
        own = replace(
            base,
            name="-".join(re.findall(r"[a-z0-9]+", card.name.lower())),
            description=f"{card.name} here; its rates are those of {base.name}, not measured",
            architecture=architecture_of(card.capability),
            device=replace(base.device, name=card.name),
        )
        counts["device.memory_bytes"] = card.memory_bytes
        known = replace_all(own, counts, provenance=_TOLD, source=source)
        return known if self.topology is None else with_topology(known, self.topology, base.name)


def _cores(cpuinfo: Path = _CPUINFO) -> int:
    """Physical cores: pairs of socket and core; processors where the file does not say them."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        text = cpuinfo.read_text()
    except OSError:
        return threads or 1
    sockets = re.findall(r"^physical id\s*: (\d+)", text, re.MULTILINE)
    cores = re.findall(r"^core id\s*: (\d+)", text, re.MULTILINE)
    pairs = set(zip(sockets, cores, strict=False))
    return min(len(pairs) or 1, threads or 1) if pairs else threads or 1


def _memory_bytes(limit: Path = _LIMIT) -> float:
    """The machine's, or what the control group of a container allows where that is less."""
    memory_bytes = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        return min(memory_bytes, float(limit.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return memory_bytes


def _cards() -> list[Card]:
    """The driver's cards; none where there is no driver, or it tells nothing."""
    try:
        return read_cards(_asked(*_QUERY))
    except ValueError:
        return []


def _asked(*words: str) -> str:
    """What the driver answers; empty where there is none, or it fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        found = subprocess.run(
            [program, *words], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout


def _topology(cards: Sequence[Card]) -> Topology | None:
    """How several cards are connected; None for one card, unlike ones, and what nothing tells."""
    if len(cards) < 2 or any(card != cards[0] for card in cards):
        return None
    try:
        found = topology.read(_asked("topo", "-m"), _asked("topo", "-p2p", "r"))
    except ValueError:
        return None
    places = _asked("--query-gpu=pci.bus_id", "--format=csv,noheader").split()
    return on_bus(found, places)


def on_bus(found: Topology, places: Sequence[str], devices: Path = _PCI) -> Topology:
    """With what the kernel says of cards by their place on the bus, where it says it of all."""
    # the driver writes eight digits of the domain, the kernel four
    own = [devices / place.lower()[-len("0000:00:00.0") :] for place in places]
    if len(own) != found.devices or not all((one / "numa_node").is_file() for one in own):
        return found
    numa = [int((one / "numa_node").read_text()) for one in own]
    return topology.with_paths(found, [str(one.resolve()) for one in own], numa)


def read_cards(text: str) -> list[Card]:
    """The cards that `nvidia-smi` lists. ``ValueError`` where a line is no card's."""
    return [read_card(line) for line in text.splitlines() if line.strip()]


def read_card(text: str) -> Card:
    """The first line of what `nvidia-smi` says. ``ValueError`` where it is no card's."""
    name, memory_mib, capability = (part.strip() for part in text.partition("\n")[0].split(","))
    major, _, minor = capability.partition(".")
    return Card(
        name=name,
        memory_bytes=float(memory_mib) * _MIB,
        capability=(int(major), int(minor)),
    )
