"""What an operation's time rests on: its seconds by constant of the machine."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from zo2sim.cost import CostModel, cost_key, cpu
from zo2sim.cost.setting import Setting
from zo2sim.schedule.ops import Kind, Op
from zo2sim.simulate.work import Resource, Work

KERNELS = "device"
"""Stands for what runs on a device that is no CPU: kernel tables, and the rates of the card."""

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
    taken = cpu.amounts(s, *cost_key(s.model, op)) or {}
    for amounts in (taken, cpu.woken(s, op.kind), cpu.gap(s, op.kind)):
        yield from _seconds(s, amounts)


def _seconds(s: Setting, amounts: cpu.Amounts) -> Iterator[tuple[str, float]]:
    for key, amount in amounts.items():
        yield key, float(amount) * cpu.seconds_per(key, s.machine.quantity(key).value)


def _elsewhere(cost: CostModel, op: Op) -> Iterator[tuple[str, float]]:
    """Copies, files, and everything on a device that is no CPU."""
    s, work = cost.setting, cost(op)
    if s.cpu is not None and cpu.amounts(s, *cost_key(s.model, op)) is not None:
        return
    machine = s.machine
    if op.kind is Kind.LOSS:
        yield "link.latency_s", machine.link.latency_s.value
        yield "host.stream_handover_s", machine.host.stream_handover_s.value
        yield KERNELS, machine.device.launch_s.value
        return
    fixed_s, rate = float(work.fixed_s), _rate(cost, work, op.kind)
    if s.cpu is not None:
        fixed_s -= sum(seconds for _, seconds in _seconds(s, cpu.woken(s, op.kind)))
    if op.kind in (Kind.H2D, Kind.D2H):
        copies = len(s.unit(op.unit).parameters) if s.published and op.unit is not None else 1
        waits_s = min(fixed_s, copies * machine.link.latency_s.value)
        yield _FIXED[op.kind], waits_s
        yield rate, fixed_s - waits_s  # the ramp of a copy is bytes at the link's rate
    else:
        yield _FIXED.get(op.kind, KERNELS), fixed_s
    yield rate, float(work.flow_s(cost.rates))


def _rate(cost: CostModel, work: Work, kind: Kind) -> str:
    """The constant behind the resource that the operation's flow is limited by."""
    times = {r: float(amount / cost.rates.of(r)) for r, amount in work.amounts.items()}
    slowest = max(times, key=lambda r: times[r], default=Resource.COMPUTE)
    pageable = "pageable_" if cost.setting.pageable else ""
    update = f"{cost.setting.recipe.noise}_update_elements_per_s"
    return {
        Resource.COMPUTE: KERNELS,
        Resource.LINK_H2D: f"link.{pageable}h2d_bytes_per_s",
        Resource.LINK_D2H: f"link.{pageable}d2h_bytes_per_s",
        Resource.DRAM: "host.dram_bytes_per_s",
        Resource.CPU: f"host.{'encode_bytes_per_s' if kind is Kind.ENCODE else update}",
        Resource.NVME_READ: "nvme.read_bytes_per_s",
        Resource.NVME_WRITE: "nvme.write_bytes_per_s",
    }[slowest]
