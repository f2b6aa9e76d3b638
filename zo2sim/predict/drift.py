"""What a machine's drift does to a step: cores compute slower or start things slower, links do not.

[Note: two drifts] A neighbour on a virtual machine's cores slows what works through memory or
multiplies by one factor, and what wakes a thread, enters a kernel or runs Python by another: the
one was seen at 5 % when the other was at 16. So they are told apart.
"""

import dataclasses
from dataclasses import dataclass, replace

from zo2sim.cost.cpu import HANDOVER, is_rate, seconds_per
from zo2sim.machines.machine import Machine
from zo2sim.machines.quantity import Quantity
from zo2sim.predict.predict import Prediction, predict

_NO_COSTS = (
    *("misfit_ratio", "jitter_ratio", "together_ratio"),
    *("crowded_ratio", "crowded_launch_ratio", "crowded_misfit_ratio"),
    *("large_reference_s", "small_reference_s"),
)
"""No amount is multiplied by these."""
_THROTTLE = "cpu.throttle_s"
"""Part of a limited link (`zo2sim.machines.what_if.cap_link`)."""
_SLOWER = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How many times as long as when it was calibrated a machine takes.

    ``computing`` is for what takes a time per element, byte or operation, ``starting`` for what
    takes one each time.
    """

    computing: float = 1.0
    starting: float = 1.0

    def of(self, key: str) -> float:
        """For a constant of the machine, by dotted key: 1 where it is none of a core."""
        if key == _THROTTLE or not (key.startswith("cpu.") or key == HANDOVER):
            return 1.0
        return self.computing if is_rate(key) else self.starting


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Which share of a step each drift makes longer: both 0 where it waits for its link."""

    computing: float
    starting: float

    def longer(self, drift: Drift) -> float:
        """How many times as long the step takes."""
        more = self.computing * (drift.computing - 1.0) + self.starting * (drift.starting - 1.0)
        return 1.0 + more


def shares(prediction: Prediction) -> Shares:
    """Of a predicted step; halves where the machine's cores are not its device."""
    case = prediction.case
    if case.cost.setting.cpu is None:
        return Shares(computing=0.5, starting=0.5)

    def share(slower: Drift) -> float:
        step_s = predict(replace(case, machine=drifted(case.machine, slower))).step_s
        return (step_s / prediction.step_s - 1.0) / (_SLOWER - 1.0)

    return Shares(
        computing=share(Drift(computing=_SLOWER)), starting=share(Drift(starting=_SLOWER))
    )


def drifted(machine: Machine, drift: Drift) -> Machine:
    """The machine as it is after such a drift."""
    cpu, host = machine.cpu, machine.host
    if cpu is None:
        return machine
    names = [f.name for f in dataclasses.fields(cpu) if f.name not in _NO_COSTS]
    changed = {name: _longer(f"cpu.{name}", getattr(cpu, name), drift) for name in names}
    handover = HANDOVER.removeprefix("host.")
    woken = _longer(HANDOVER, getattr(host, handover), drift)
    return replace(machine, cpu=replace(cpu, **changed), host=replace(host, **{handover: woken}))


def _longer(key: str, quantity: Quantity, drift: Drift) -> Quantity:
    by = seconds_per(key, drift.of(key))
    ends = {
        end: value * by for end in ("low", "high") if (value := getattr(quantity, end)) is not None
    }
    return replace(quantity, value=quantity.value * by, **ends)
