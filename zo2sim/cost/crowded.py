"""Where parts of the host's cores are the devices: how what they do at once slows each other."""

import numpy as np

from zo2sim.cost.cpu import Amounts, is_rate, seconds, seconds_per
from zo2sim.cost.setting import Setting
from zo2sim.simulate.work import Number, Resource, Work

_LEAST_S = 1e-30


def crowded(s: Setting) -> tuple[float, float] | None:
    """How many times as long an operation takes on cores that several devices are parts of: what
    works through memory or multiplies, and what is there each time. None for one device, and where
    no calibration has measured it."""
    cpu = s.cpu
    if s.plan.devices == 1 or cpu is None:
        return None
    ratio, launch_ratio = cpu.crowded_ratio, cpu.crowded_launch_ratio
    if ratio is None or launch_ratio is None:
        return None
    return ratio.value, launch_ratio.value


def crowding(s: Setting, taken: Amounts) -> Number:
    """The share of all cores that an operation draws while those of other devices compute, too.

    Parts of the host's cores share its memory, and one interpreter. Alone it takes what it takes on
    one device.
    Raises ``ValueError`` where nothing is `crowded`.
    """
    ratios = crowded(s)
    if ratios is None:
        raise ValueError(f"{s.machine.name} must say how crowded cores slow each other")
    ratio, launch_ratio = ratios
    longer_s = sum(
        amount * _seconds_per(s, key) * (ratio if is_rate(key) else launch_ratio)
        for key, amount in taken.items()
    )
    longer = longer_s / np.maximum(seconds(taken, s.machine), _LEAST_S)
    return longer / s.machine.host.num_cores.value


def _seconds_per(s: Setting, key: str) -> float:
    return seconds_per(key, s.machine.quantity(key).value)


def computes(s: Setting, taken: Amounts) -> Work:
    """What an operation takes, on cores that devices share. Raises as `crowding` does."""
    taken_s = seconds(taken, s.machine)
    amounts = {Resource.COMPUTE: taken_s, Resource.CORES: taken_s * crowding(s, taken)}
    return Work(amounts=amounts)
