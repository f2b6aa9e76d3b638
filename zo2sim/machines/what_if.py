"""The machine that somebody asks about: one with some of its numbers changed."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NoReturn

from zo2sim.checks import positive, shown
from zo2sim.machines.keys import closest, key_of
from zo2sim.machines.machine import NOT_LOCKED, Link, Machine
from zo2sim.machines.quantity import Provenance, Quantity


def replace(
    machine: Machine,
    key: str,
    value: float,
    *,
    provenance: Provenance = "assumed",
    source: str = "set for a what-if",
) -> Machine:
    """The machine with one number changed; ``key`` is dotted and may carry another unit.

    Raises ``ValueError`` for an unknown key (naming the closest ones) and for a machine that
    breaks a rule with the new number; `replace_all` changes numbers that depend on each other.
    """
    return replace_all(machine, {key: value}, provenance=provenance, source=source)


def replace_all(
    machine: Machine,
    values: Mapping[str, float],
    *,
    provenance: Provenance = "assumed",
    source: str = "set for a what-if",
) -> Machine:
    """As `replace`, for several numbers at once: the rules must hold when all are in place.

    Copies from memory that is not page-locked are slowed by a link that is slower than they were.
    """
    parts: dict[str, dict[str, Quantity]] = {}
    for written, value in values.items():
        key, unit = key_of(written) or _unknown(written)
        part, _, field = key.partition(".")
        if getattr(machine, part) is None:
            raise ValueError(f"{written} needs a machine with [{part}]; {machine.name} has none")
        si = unit.to_si(positive(written, value))
        parts.setdefault(part, {})[field] = Quantity(si, provenance, source)
    if "link" in parts:
        parts["link"] = _slowed(machine.link, parts["link"]) | parts["link"]
    changes: dict[str, Any] = {
        part: dataclasses.replace(getattr(machine, part), **fields)
        for part, fields in parts.items()
    }
    return dataclasses.replace(machine, **changes)


def _slowed(link: Link, changed: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """Rates of copies through page-locked memory, where that has become slower than they are."""
    rates = ((rate, changed.get(through), getattr(link, rate)) for rate, through in NOT_LOCKED)
    return {
        rate: through
        for rate, through, own in rates
        if through is not None and own is not None and own.value > through.value
    }


def scale_link(machine: Machine, factor: float) -> Machine:
    """The machine with every rate of its link multiplied: a narrower or a wider link."""
    rates = {
        key: q.value * positive("factor", factor)
        for key, q in machine.quantities.items()
        if key.startswith("link.") and key.endswith("_bytes_per_s")
    }
    return replace_all(machine, rates, source=f"{factor:g} times the link of {machine.name}")


def cap_link(machine: Machine, bytes_per_s: float) -> Machine:
    """The machine with its link limited to a rate, in every state; what is slower stays as it is.

    ``link.limit_bytes_per_s`` says so. Where a sleep limits it (`zo2rt.backends.throttle`), a copy
    takes what the sleep overshoots (``cpu.throttle_s``) longer, and the link's own latency and ramp
    are hidden.
    """
    limit = positive("bytes_per_s", bytes_per_s)
    numbers = {
        key: limit
        for key, q in machine.quantities.items()
        if key.startswith("link.") and key.endswith("_bytes_per_s") and q.value > limit
    }
    if machine.link.limit_bytes_per_s is None:
        numbers["link.limit_bytes_per_s"] = limit
    if machine.cpu is not None:
        numbers |= {"link.latency_s": machine.cpu.throttle_s.value, "link.half_size_bytes": 1.0}
    return replace_all(machine, numbers, source=f"{machine.name} limited to {bytes_per_s:g} B/s")


def with_device_memory(machine: Machine, memory_bytes: float) -> Machine:
    """The machine with another amount of device memory."""
    return replace(machine, "device.memory_bytes", memory_bytes)


def with_host_memory(machine: Machine, memory_bytes: float) -> Machine:
    """The machine with another amount of host memory."""
    return replace(machine, "host.memory_bytes", memory_bytes)


def _unknown(key: str) -> NoReturn:
    raise ValueError(
        f"a key must name a number of a machine; got {shown(key)}; closest: {closest(key)}"
    )
