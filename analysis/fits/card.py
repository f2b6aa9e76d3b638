"""A machine with a card from a fit: what was measured replaces what a catalogue machine assumes."""

import dataclasses
import re
from collections.abc import Mapping

from analysis.fits.law import Fit
from analysis.fits.machine import START_S, HostSpecs, quantities, with_constants
from zo2sim.cost.cpu import seconds_per
from zo2sim.machines.file import named, names
from zo2sim.machines.machine import CEILINGS, Architecture, Machine
from zo2sim.machines.quantity import Quantity

UNKNOWN_START_S: Mapping[str, float] = {
    "bench.kernel_s": 3e-6,
    "bench.event_handover_s": 5e-6,
    "device.gemm_flops_per_s": 1e-14,
    "device.fp32_gemm_flops_per_s": 1e-13,
    "link.staged_h2d_bytes_per_s": 1e-10,
    "link.staged_d2h_bytes_per_s": 1e-10,
}
"""Assumed seconds per unit, of the benchmarks' own constants and of those that a machine lacks."""
_LEAST_NVME_BYTES = 1e10


def base_machine(card_name: str, architecture: str) -> Machine:
    """The machine of the catalogue with this card, or the first one of its class.

    What is not measured stays as that machine has it.
    """
    catalogue = [named(name) for name in names()]
    words = set(_words(card_name))
    alike = [m for m in catalogue if m.architecture == architecture]
    if not alike:
        raise ValueError(f"the catalogue must have a machine of class {architecture}; it has none")
    return max(alike, key=lambda m: len(words & set(_words(m.device.name))))


def start_s(machine: Machine, keys: frozenset[str]) -> dict[str, float]:
    """Seconds per unit to start a fit from: the machine's; ratios to the cost model start at 1."""
    numbers = {key: seconds_per(key, q.value) for key, q in machine.quantities.items()}
    ratios = {key: 1.0 for key in keys if key.endswith("_over_model")}
    known = {**START_S, **UNKNOWN_START_S, **numbers, **ratios}
    return {key: known[key] for key in keys if key in known}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CardRoom:
    """What the driver says of the card."""

    name: str
    memory_bytes: int
    num_sms: int
    architecture: Architecture


def calibrated_card(
    machine: Machine, fit: Fit, card: CardRoom, room: HostSpecs, *, source: str
) -> Machine:
    """``machine`` with the fitted constants, and the card and the room that are really there."""
    there = on_card(machine, card, room, source=source)
    return with_constants(there, fitted_constants(there, fit, source=source))


def fitted_constants(machine: Machine, fit: Fit, *, source: str) -> dict[str, Quantity]:
    """What a fit tells of a machine's constants, by key."""
    found = {k: q for k, q in quantities(fit, source).items() if not k.startswith("bench.")}
    if "device.memory_bytes_per_s" in found:  # which is the rate of a copy, and its passes
        found["device.pass_ratio"] = Quantity(1.0, "measured", source)
    return _ordered(machine, found)


def on_card(machine: Machine, card: CardRoom, room: HostSpecs, *, source: str) -> Machine:
    """``machine`` with the card and the room that are really there; no rate has been measured."""
    counted = {
        "device.memory_bytes": Quantity(card.memory_bytes, "measured", source),
        "device.num_sms": Quantity(card.num_sms, "measured", source),
        "host.num_cores": Quantity(room.num_cores, "measured", source),
        "host.memory_bytes": Quantity(room.memory_bytes, "measured", source),
    }
    if machine.nvme is not None:
        capacity_bytes = max(room.disk_bytes, _LEAST_NVME_BYTES)
        counted["nvme.capacity_bytes"] = Quantity(capacity_bytes, "measured", source)
    described = dataclasses.replace(
        machine,
        name=_slug(card.name),
        description=f"{card.name}, measured; what was not is as on {machine.name}",
        architecture=card.architecture,
        device=dataclasses.replace(machine.device, name=card.name),
    )
    return with_constants(described, counted)


def _ordered(machine: Machine, found: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """No rate of the link exceeds one that bounds it: where noise says so, they are equal."""
    ordered = dict(found)
    for rate, most, _ in CEILINGS:
        known = machine.quantities | ordered
        one, other = known.get(f"link.{rate}"), known.get(f"link.{most}")
        if one is not None and other is not None and one.value > other.value:
            ordered[f"link.{rate}"] = other
    return ordered


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _slug(text: str) -> str:
    return "-".join(_words(text))
