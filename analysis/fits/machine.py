"""A machine from a fit: constants with their intervals, and who measured them, when and how.

Errors of fitted constants are not independent: of two that rows hardly tell apart one is too large
where the other is too small, and their sum is known better than either. A machine file keeps an
interval per constant, and one ratio (`together_ratio`) for what the intervals cannot say.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.fits.law import Fit
from zo2sim.cost.cpu import seconds_per
from zo2sim.machines.keys import LIMITS
from zo2sim.machines.machine import PARTS, Machine
from zo2sim.machines.quantity import Quantity, constants_of
from zo2sim.predict.bands import drawn_sigma, step_slopes
from zo2sim.predict.case import Case

START_S: Mapping[str, float] = {
    **{
        f"{part}.{name}": constant.start_s
        for part, kind in PARTS.items()
        for name, constant in constants_of(kind)
        if constant.start_s is not None
    },
    "bench.launch_s": 3e-6,
    "bench.call_s": 2e-5,
}
"""Assumed seconds per unit; what benchmarks take to call is no machine's."""


def with_constants(machine: Machine, constants: Mapping[str, Quantity]) -> Machine:
    """The machine with the given constants; sections that it lacked must be given in full."""
    changes: dict[str, Any] = {}
    for part, kind in PARTS.items():
        prefix = f"{part}."
        fields = {k.removeprefix(prefix): q for k, q in constants.items() if k.startswith(prefix)}
        if not fields:
            continue
        before = getattr(machine, part)
        needed = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
        missing = [n for n in needed if n not in fields] if before is None else []
        if missing:
            raise ValueError(f"[{part}] must be fitted in full; missing: {', '.join(missing)}")
        changes[part] = kind(**fields) if before is None else dataclasses.replace(before, **fields)
    return dataclasses.replace(machine, **changes)


def quantities(fit: Fit, source: str, *, keys: Iterable[str] | None = None) -> dict[str, Quantity]:
    """The fit's constants with their 95 % intervals."""
    found: dict[str, Quantity] = {}
    for key in fit.keys if keys is None else keys:
        low, value, high = fit.interval(key)
        found[key] = Quantity(value, "fitted", source, low, high)
    return found


LEAST_RATIO = 1e-3
"""No spread is taken to be smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpecs:
    """What the operating system says of the machine."""

    num_cores: int
    memory_bytes: float
    disk_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """The references' median steps, the large one's first; and how steps of a run scatter."""

    references_s: tuple[float, float]
    jitter_ratio: float


def calibrated(
    machine: Machine, fit: Fit, room: HostSpecs, again: Repeated, *, source: str
) -> Machine:
    """The host as a machine: fitted constants, and its cores and memory as the system says.

    Half of the memory plays the device's. What a host measures twice under two names (its cores
    and its device) is given to both. A constant of its cores that nothing was measured for keeps
    its start value, as an assumption.
    """
    found = _start_constants() | quantities(fit, source)
    found = {k: q for k, q in found.items() if not k.startswith("bench.")}
    found |= _link_states(found)
    misfit = Quantity(fit.log_sigmas["forward of a block"], "fitted", source)
    spread = _spread(misfit, again, source)
    counted = {
        "host.num_cores": Quantity(room.num_cores, "measured", source),
        "host.memory_bytes": Quantity(room.memory_bytes / 2, "assumed", "half of the memory"),
        "device.memory_bytes": Quantity(room.memory_bytes / 2, "assumed", "half of the memory"),
        "nvme.capacity_bytes": Quantity(room.disk_bytes, "measured", source),
    }
    return with_constants(machine, {**found, **spread, **counted})


def assumed(machine: Machine, references_s: tuple[float, float]) -> Machine:
    """Before anything is fitted: start values, of which the shares of a step are about right."""
    source = "nothing is fitted yet"
    misfit = Quantity(LEAST_RATIO, "assumed", source)
    again = Repeated(references_s=references_s, jitter_ratio=LEAST_RATIO)
    return with_constants(machine, {**_start_constants(), **_spread(misfit, again, source)})


def _spread(misfit: Quantity, again: Repeated, source: str) -> dict[str, Quantity]:
    """What is no constant of an operation."""
    large_s, small_s = again.references_s
    return {
        "cpu.misfit_ratio": misfit,
        "cpu.jitter_ratio": Quantity(max(again.jitter_ratio, LEAST_RATIO), "measured", source),
        "cpu.together_ratio": Quantity(1.0, "assumed", "as if independent"),
        "cpu.large_reference_s": Quantity(large_s, "measured", source),
        "cpu.small_reference_s": Quantity(small_s, "measured", source),
    }


def _start_constants() -> dict[str, Quantity]:
    source = "nothing in this calibration tells it: the right magnitude for one core"
    return {
        key: Quantity(seconds_per(key, start_s), "assumed", source)
        for key, start_s in START_S.items()
        if key.startswith("cpu.")
    }


def _link_states(found: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """Nothing faster than one way from page-locked memory; as that where it was not measured."""
    states: dict[str, Quantity] = {}
    for state in ("both_", "pageable_"):
        for way in ("h2d", "d2h"):
            key, alone = f"link.{state}{way}_bytes_per_s", found[f"link.{way}_bytes_per_s"]
            states[key] = min(found.get(key, alone), alone, key=lambda rate: rate.value)
    return states


def together_ratio(fit: Fit, cases: Iterable[Case]) -> float:
    """The spread of the cases' steps by the fit's covariance, over that of independent constants.

    The cases are on the fitted machine; both spreads are root mean squares over them. 1 where a
    hasty fit tells no constant well enough to draw it, and no more than a machine file may say
    where it tells next to none.
    """
    joint = independent = 0.0
    for case in cases:
        found = step_slopes(case)
        slopes = np.array([found.get(key, 0.0) for key in fit.keys])
        sigmas = np.array([drawn_sigma(case.machine, k) if k in found else 0.0 for k in fit.keys])
        joint += float(slopes @ fit.covariance @ slopes)
        independent += float(((slopes * sigmas) ** 2).sum())
    if independent <= 0.0:
        return 1.0
    return min((joint / independent) ** 0.5, LIMITS["cpu.together_ratio"][1])
