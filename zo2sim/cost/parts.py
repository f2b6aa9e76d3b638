"""What an operation's time rests on: its seconds by constant of the machine."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import get_args

from zo2sim.cost import CostModel, cost_key, cpu
from zo2sim.cost.setting import Setting
from zo2sim.machines.what_if import replace
from zo2sim.plan.choices import Noise
from zo2sim.schedule.ops import Kind, Op
from zo2sim.simulate.work import Resource, Work

KERNELS = "device"
"""Stands for the arithmetic of a device that is no CPU: its kernel model, and how fast it is in
long work."""
_DEVICE = (
    *("device.memory_bytes_per_s", "device.launch_s", "host.stream_handover_s"),
    *(f"device.{noise}_noise_elements_per_s" for noise in get_args(Noise)),
)
"""What else a device's operations rest on."""
_SLOWER = 1e-4

_FIXED: Mapping[Kind, str] = {
    Kind.H2D: "link.latency_s",
    Kind.D2H: "link.latency_s",
    Kind.READ: "nvme.latency_s",
    Kind.WRITE: "nvme.latency_s",
    Kind.JOURNAL: "host.fsync_s",
    Kind.ALLOC: "device.alloc_s",
}


def parts_s(cost: CostModel, op: Op) -> dict[str, float]:
    """Seconds of an operation by dotted constant, or `KERNELS`; they add up to its time alone.

    What several constants limit counts as that of the one that binds.
    """
    whole_s = float(cost(op).alone_s(cost.rates))
    found: defaultdict[str, float] = defaultdict(float)
    for key, seconds in (*_on_cores(cost, op), *_elsewhere(cost, op)):
        found[key] += seconds
    assert abs(sum(found.values()) - whole_s) <= 1e-9 * whole_s, f"{op}: parts make the whole"
    return {key: seconds for key, seconds in found.items() if seconds > 0.0}


def late_parts_s(cost: CostModel, op: Op) -> dict[str, float]:
    """The same of `zo2sim.simulate.work.Work.late_s`, in which gaps count below 0."""
    s = cost.setting
    found: defaultdict[str, float] = defaultdict(float)
    if s.cpu is not None:
        for key, seconds in _seconds(s, cpu.wake(op.kind)):
            found[key] += seconds
        for key, seconds in _seconds(s, cpu.gap(s, op.kind)):
            found[key] -= seconds
    return found


def _on_cores(cost: CostModel, op: Op) -> Iterator[tuple[str, float]]:
    """By the linear law, where the host's cores are the device (`zo2sim.cost.cpu`)."""
    s = cost.setting
    if s.cpu is None:
        return
    taken = _amounts(cost, op) or {}
    for amounts in (taken, cpu.woken(s, op.kind), cpu.gap(s, op.kind)):
        yield from _seconds(s, amounts)


def _amounts(cost: CostModel, op: Op) -> cpu.Amounts | None:
    return cost.on_cores(cost_key(cost.setting.model, op, cost.setting.plan))


def _seconds(s: Setting, amounts: cpu.Amounts) -> Iterator[tuple[str, float]]:
    for key, amount in amounts.items():
        yield key, float(amount) * cpu.seconds_per(key, s.machine.quantity(key).value)


def _elsewhere(cost: CostModel, op: Op) -> Iterator[tuple[str, float]]:
    """Copies, files, and everything on a device that is no CPU."""
    s, work = cost.setting, cost(op)
    if s.cpu is not None and _amounts(cost, op) is not None:
        return
    machine = s.machine
    if op.kind is Kind.LOSS:
        yield "link.latency_s", machine.link.latency_s.value
        yield "host.stream_handover_s", machine.host.stream_handover_s.value
        yield KERNELS, machine.device.launch_s.value
        return
    fixed_s, rate = float(work.fixed_s), _rate(cost, work, op.kind)
    if s.cpu is not None:
        woken_s = sum(seconds for _, seconds in _seconds(s, cpu.woken(s, op.kind)))
        if op.kind in (Kind.SEND, Kind.GATHER):  # between parts of the host's cores
            yield "host.dram_bytes_per_s", float(work.alone_s(cost.rates)) - woken_s
            return
        fixed_s -= woken_s
    if op.kind in (Kind.H2D, Kind.D2H):
        copies = len(s.unit(op.unit).parameters) if s.published and op.unit is not None else 1
        waits_s = min(fixed_s, copies * machine.link.latency_s.value)
        yield _FIXED[op.kind], waits_s
        yield rate, fixed_s - waits_s  # the ramp of a copy is bytes at the link's rate
    else:
        yield _FIXED.get(op.kind, KERNELS), fixed_s
    flow_s = float(work.flow_s(cost.rates))
    yield from _on_device(cost, op, flow_s) if rate == KERNELS else ((rate, flow_s),)


def _on_device(cost: CostModel, op: Op, whole_s: float) -> Iterator[tuple[str, float]]:
    """By how much longer the operation takes where a constant does (Euler's theorem, as times are
    of the first degree in the times of the constants); the rest is arithmetic."""
    found = {
        key: max(float(slower(op).flow_s(slower.rates)) - whole_s, 0.0) / _SLOWER
        for key, slower in _slower(cost.setting).items()
    }
    found[KERNELS] = max(whole_s - sum(found.values()), 0.0)
    scale = whole_s / (sum(found.values()) or 1.0)  # a step so small is not infinitely small
    for key, taken_s in found.items():
        yield key, taken_s * scale


@lru_cache(maxsize=8)
def _slower(s: Setting) -> Mapping[str, CostModel]:
    """The same setting with one constant slower, for each of them."""
    found: dict[str, CostModel] = {}
    for key in _DEVICE:
        factor = 1.0 / (1.0 + _SLOWER) if cpu.is_rate(key) else 1.0 + _SLOWER
        machine = replace(s.machine, key, s.machine.quantity(key).value * factor)
        found[key] = CostModel(setting=dataclasses.replace(s, machine=machine))
    return found


def _rate(cost: CostModel, work: Work, kind: Kind) -> str:
    """The constant behind the resource that the operation's flow is limited by."""
    times = {r: float(amount / cost.rates.of(r)) for r, amount in work.amounts.items()}
    slowest = max(times, key=lambda r: times[r], default=Resource.COMPUTE)
    copies = cost.setting.copies
    update = f"{cost.setting.recipe.noise}_update_elements_per_s"
    return {
        Resource.COMPUTE: KERNELS,
        Resource.LINK_H2D: f"link.{copies}h2d_bytes_per_s",
        Resource.LINK_D2H: f"link.{copies}d2h_bytes_per_s",
        Resource.DRAM: "host.dram_bytes_per_s",
        Resource.CPU: f"host.{'encode_bytes_per_s' if kind is Kind.ENCODE else update}",
        Resource.NVME_READ: "nvme.read_bytes_per_s",
        Resource.NVME_WRITE: "nvme.write_bytes_per_s",
        Resource.PEER: _peer(cost),
        Resource.FAR: "node.far_ratio",
        Resource.ISSUE: "device.launch_s",
    }[slowest]


def _peer(cost: CostModel) -> str:
    """The constant behind copies between the plan's first two devices."""
    node = cost.setting.several
    if node is None:
        return "host.dram_bytes_per_s"
    return {
        "nvlink": "node.nvlink_bytes_per_s",
        "p2p": "node.p2p_bytes_per_s",
        "host": "node.hop_bytes_per_s",
    }[node.route(0, 1)]
