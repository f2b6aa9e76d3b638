"""What a machine's drift does to a step: its cores slow down together, its links do not."""

import dataclasses
from dataclasses import replace

from zo2sim.cost.cpu import HANDOVER
from zo2sim.machine import Machine, Quantity
from zo2sim.predict import Prediction, predict

_CPU = ("misfit_ratio", "jitter_ratio", "together_ratio", "reference_s")
"""No amount is multiplied by these."""
_SLOWER = 1.05


def core_share(prediction: Prediction) -> float:
    """By which power of its cores' slowness a step gets longer: 1 where nothing else binds.

    1 also where the machine's cores are not its device.
    """
    case = prediction.case
    if case.cost.setting.cpu is None:
        return 1.0
    slower = predict(replace(case, machine=with_slower_cores(case.machine, _SLOWER)))
    return (slower.step_s / prediction.step_s - 1.0) / (_SLOWER - 1.0)


def with_slower_cores(machine: Machine, factor: float) -> Machine:
    """Everything that a core does takes ``factor`` times as long."""
    cpu, host = machine.cpu, machine.host
    if cpu is None:
        return machine
    names = [f.name for f in dataclasses.fields(cpu) if f.name not in _CPU]
    changed = {name: _slowed(name, getattr(cpu, name), factor) for name in names}
    handover = HANDOVER.removeprefix("host.")
    woken = _slowed(handover, getattr(host, handover), factor)
    return replace(machine, cpu=replace(cpu, **changed), host=replace(host, **{handover: woken}))


def _slowed(name: str, quantity: Quantity, factor: float) -> Quantity:
    by = 1.0 / factor if name.endswith("_per_s") else factor
    ends = {
        end: value * by for end in ("low", "high") if (value := getattr(quantity, end)) is not None
    }
    return replace(quantity, value=quantity.value * by, **ends)
