"""Machines of integers: costs and rates that can be followed by hand."""

from collections.abc import Callable
from typing import Any

from zo2sim.schedule.ops import Kind, Op
from zo2sim.simulate.work import Rates, Resource, Work


def rates(**changes: float) -> Rates:
    """Every rate is 1, DRAM is never short, and both directions of the link go at full speed."""
    base: dict[str, Any] = {
        "link_h2d": 1,
        "link_d2h": 1,
        "both_h2d": 1,
        "both_d2h": 1,
        "dram": 1000,
        "cpu": 1,
        "nvme_read": 1,
        "nvme_write": 1,
        "peer": 1,
    }
    return Rates(**{**base, **changes})


def costs(**seconds: float) -> Callable[[Op], Work]:
    """Time by kind, e.g. ``costs(h2d=3, forward=4)``; what is not named is free."""
    resources = {
        Kind.H2D: Resource.LINK_H2D,
        Kind.D2H: Resource.LINK_D2H,
        Kind.FORWARD: Resource.COMPUTE,
        Kind.UPDATE: Resource.COMPUTE,
        Kind.READ: Resource.NVME_READ,
        Kind.WRITE: Resource.NVME_WRITE,
        Kind.HOST_UPDATE: Resource.CPU,
        Kind.ENCODE: Resource.CPU,
        Kind.SEND: Resource.PEER,
        Kind.GATHER: Resource.PEER,
    }
    copies = (Kind.H2D, Kind.D2H)

    def work(op: Op) -> Work:
        amount = seconds.get(op.kind.value.lower(), 0.0)
        if op.kind is Kind.UPDATE and op.records == 0:
            amount = 0.0
        if op.unit is not None and op.unit < 0 and op.kind is not Kind.SEND:
            amount = seconds.get("ends", 0.0)
        if op.kind not in resources:
            return Work(fixed_s=amount, amounts={})
        dram = {Resource.DRAM: amount} if op.kind in copies else {}
        return Work(
            fixed_s=seconds.get("latency", 0.0) if op.kind in copies else 0.0,
            amounts={resources[op.kind]: amount, **dram},
        )

    return work
