"""A calibrated host whose constants are round numbers, as a calibration would write it."""

import dataclasses
from functools import cache

from analysis.fits.machine import START_S
from experiments.campaign.designs import reference_runs
from experiments.campaign.recorded_run import case_of
from zo2sim.cost.cpu import seconds_per
from zo2sim.machines.cpu import Cpu
from zo2sim.machines.file import named
from zo2sim.machines.machine import Machine
from zo2sim.machines.quantity import Quantity, quantities_of
from zo2sim.predict.predict import predict

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


def referenced_host() -> Machine:
    """The same, whose references take what is predicted of them."""
    host = calibrated_host()
    assert host.cpu is not None
    large, small = map(quantity, references_s(host))
    return dataclasses.replace(
        host, cpu=dataclasses.replace(host.cpu, large_reference_s=large, small_reference_s=small)
    )


def references_s(machine: Machine) -> tuple[float, float]:
    """What the references take on a machine, as predicted."""
    large, small = (predict(case_of(spec, machine)).step_s for spec in reference_runs())
    return large, small


@cache
def calibrated_host(wide: float | None = None, **changes: float) -> Machine:
    """`this-host` with a [cpu] section of the fit's start values, and one link speed of 1 GB/s."""
    names = [f.name for f in dataclasses.fields(Cpu) if not f.name.startswith("crowded_")]
    values = {name: _start(name) for name in names}
    cpu = Cpu(**{name: quantity(changes.get(name, v), wide) for name, v in values.items()})
    host = named("this-host")
    rates = {name: quantity(1e9) for name, _ in quantities_of(host.link) if "per_s" in name}
    link = dataclasses.replace(host.link, **rates)
    return dataclasses.replace(host, cpu=cpu, link=link)


def _start(name: str) -> float:
    if name in SPREADS:
        return SPREADS[name]
    return seconds_per(f"cpu.{name}", START_S[f"cpu.{name}"])
