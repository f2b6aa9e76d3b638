"""A calibrated host whose constants are round numbers, as a calibration would write it."""

import dataclasses
from functools import cache

from analysis.machine_fit import START_S
from zo2sim.cost.cpu import seconds_per
from zo2sim.machine import Cpu, Machine, Quantity
from zo2sim.machine_file import named

SPREADS = {
    "misfit_ratio": 0.02,
    "jitter_ratio": 0.005,
    "together_ratio": 1.0,
    "large_reference_s": 0.08,
    "small_reference_s": 0.02,
}


def quantity(value: float, wide: float | None = None) -> Quantity:
    """``wide`` is the high end of the interval over its value."""
    if wide is None:
        return Quantity(value, "fitted", "a test")
    return Quantity(value, "fitted", "a test", value / wide, value * wide)


@cache
def calibrated_host(wide: float | None = None, **changes: float) -> Machine:
    """`this-host` with a [cpu] section of the fit's start values, and one link speed of 1 GB/s."""
    values = {f.name: _start(f.name) for f in dataclasses.fields(Cpu)}
    cpu = Cpu(**{name: quantity(changes.get(name, v), wide) for name, v in values.items()})
    host = named("this-host")
    rates = {f.name: quantity(1e9) for f in dataclasses.fields(host.link) if "per_s" in f.name}
    link = dataclasses.replace(host.link, **rates)
    return dataclasses.replace(host, cpu=cpu, link=link)


def _start(name: str) -> float:
    if name in SPREADS:
        return SPREADS[name]
    return seconds_per(f"cpu.{name}", START_S[f"cpu.{name}"])
