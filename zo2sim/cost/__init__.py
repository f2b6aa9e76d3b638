"""What an operation costs: from shapes and machine constants to fixed time and amounts.

Every formula takes numbers or arrays (one value per plan) alike, so the simulator and the
vectorised fast path share it. The sources of the constants stand in the machine file.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from zo2sim.cost import cpu, forward, passes, peer, transfer
from zo2sim.cost.crowded import computes, crowded
from zo2sim.cost.setting import Load, Setting
from zo2sim.machines.machine import Machine
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.placement import groups, owner
from zo2sim.plan.workload import STEP, Workload
from zo2sim.schedule.ops import BufferSpace, Kind, Op
from zo2sim.simulate.sharing import sender
from zo2sim.simulate.work import Rates, Resource, Work

__all__ = ["CostModel", "Key", "Load", "Setting", "cost_key"]


_MOST = 1e100  # clocks that add such times stay finite


class Key(NamedTuple):
    """What an operation's cost depends on: operations that agree on it cost the same.

    ``group`` numbers its lanes among those of the plan, which may find W that was built ahead.
    ``device``, ``sender`` and the device whose socket is the ``home`` of a block are there where it
    matters which one it is.
    """

    kind: Kind
    unit: int | None
    lanes: str
    records: int
    group: int = 0
    device: int = 0
    sender: int = 0
    home: int = 0
    sliced: bool = False
    finds: bool = False


def cost_key(model: Model, op: Op, plan: Plan | None = None) -> Key:
    """The key of an operation: equal blocks share their first one's number. ``plan`` says what
    several devices have; without it there is one."""
    unit = op.unit
    if unit is not None and unit >= 0:
        unit = model.first_alike[unit]
    key = Key(op.kind, unit, op.lanes, op.records, op.group)
    return key if plan is None or plan.devices == 1 else _of_device(op, key, plan)


def _of_device(op: Op, key: Key, plan: Plan) -> Key:
    """Whether W is found; and which device it is, between devices, for a slice, and where memory
    may be far."""
    if _slices(op):
        return key._replace(device=op.device, sliced=True)
    if op.kind is Kind.FORWARD:
        return key._replace(finds=op.finds_weights)
    if op.kind in (Kind.SEND, Kind.GATHER):
        return key._replace(device=op.device, sender=sender(op))
    if op.kind in (Kind.H2D, Kind.D2H) and plan.placement == "whole":
        return key._replace(device=op.device, home=owner(op.unit or 0, plan.devices))
    return key


def _slices(op: Op) -> bool:
    """Whether it touches one device's slice of a block alone."""
    touched = (*op.reads, *op.writes)
    return op.kind is not Kind.GATHER and any(b.space is BufferSpace.SLICE for b in touched)


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Costs of the operations of one setting; what is alike is computed once.

    Raises ``ValueError`` when the device lacks the compute dtype, or a tier that the plan needs.
    """

    setting: Setting

    @classmethod
    def of(
        cls,
        model: Model,
        machine: Machine,
        plan: Plan,
        recipe: Recipe,
        workload: Workload = STEP,
    ) -> "CostModel":
        setting = Setting(
            model=model,
            machine=machine,
            plan=plan,
            recipe=recipe,
            load=Load.of(recipe),
            workload=workload,
        )
        return cls(setting=setting)

    @property
    def rates(self) -> Rates:
        """What the machine offers under this plan."""
        return transfer.rates(self.setting)

    def __call__(self, op: Op) -> Work:
        """The work of one operation. Raises ``ValueError`` where it is too much for a number."""
        key = cost_key(self.setting.model, op, self.setting.plan)
        if key not in self._works:
            self._works[key] = self._bounded(key)
        return self._works[key]

    @cached_property
    def _works(self) -> dict[Key, Work]:
        return {}

    def _bounded(self, key: Key) -> Work:
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                work = self._price(key)
        except OverflowError:  # a whole number that no float holds
            work = Work(fixed_s=np.inf, amounts={})
        amounts = (amount for part in work.parts for amount in part.amounts.values())
        if all(np.all(amount < _MOST) for amount in (work.fixed_s, *amounts)):
            return work
        raise ValueError(
            f"{key.kind}: an operation must take less than {_MOST:g} bytes or seconds; batch, "
            "sequence, microbatches, samples and rank ask for more, so make them smaller"
        )

    def _price(self, key: Key) -> Work:
        s, kind = self.setting_of(key), key.kind
        if s.cpu is None:
            return self._on_device(s, key)
        gap_s, wake_s = (cpu.seconds(a, s.machine) for a in (cpu.gap(s, kind), cpu.wake(kind)))
        return replace(self._on_host(s, key), gap_s=gap_s, wake_s=wake_s)

    def _on_host(self, s: Setting, key: Key) -> Work:
        """Where the host's cores are the device, or several of them."""
        taken = self.on_cores(key)
        if taken is None:
            return self._woken(s, key)
        if crowded(s) is None:
            return Work(fixed_s=cpu.seconds(taken, s.machine), amounts={})
        later = cpu.in_turn(s, key.kind, key.unit, key.lanes, taken)
        if not later:
            return computes(s, taken)
        first = {one: amount - later.get(one, 0.0) for one, amount in taken.items()}
        return replace(computes(s, first), in_turn=computes(s, later))

    def _woken(self, s: Setting, key: Key) -> Work:
        """What runs beside, whose thread wakes up; copies between devices do so in Python."""
        work, woken = self._on_device(s, key), cpu.woken(s, key.kind)
        if key.kind in (Kind.SEND, Kind.GATHER) and crowded(s) is not None:
            return replace(computes(s, woken), fixed_s=work.alone_s(self.rates))
        return replace(work, fixed_s=work.fixed_s + cpu.seconds(woken, s.machine))

    def on_cores(self, key: Key) -> cpu.Amounts | None:
        """By constant, what the operation takes of cores that are the device (`cpu.amounts`)."""
        s = self.setting_of(key)
        return cpu.amounts(s, key.kind, key.unit, key.lanes, key.records, finds=key.finds)

    def setting_of(self, key: Key) -> Setting:
        """The setting of one operation: its lanes, and its part of a block."""
        s, plan = self.setting, self.setting.plan
        if key.kind in (Kind.FORWARD, Kind.SEND) and plan.lane_parts > 1:
            s = s.of_part(groups(plan)[key.group].part)
        return replace(s, slice_of=key.device) if key.sliced else s

    def _on_device(self, s: Setting, key: Key) -> Work:
        kind, unit = key.kind, key.unit
        match kind:
            case Kind.LOSS:
                return forward.loss(s)
            case Kind.JOURNAL:
                return Work(fixed_s=s.machine.host.fsync_s.value, amounts={})
            case Kind.ALLOC:
                return Work(fixed_s=s.machine.device.alloc_s.value, amounts={})
            case _ if unit is None:
                raise ValueError(f"{kind} must name a unit; got none")
            case Kind.FORWARD:
                return forward.forward(s, unit, key.lanes, finds=key.finds)
            case Kind.BUILD:
                return passes.build(s, unit, key.lanes)
            case Kind.UPDATE:
                return passes.update(s, unit, key.records)
            case Kind.HOST_UPDATE:
                return passes.host_update(s, unit, key.records)
            case Kind.ENCODE:
                return transfer.encode(s, unit)
            case Kind.H2D | Kind.D2H:
                return transfer.copy(s, unit, _RESOURCES[kind], (key.home, key.device))
            case Kind.READ | Kind.WRITE:
                return transfer.disk(s, unit, _RESOURCES[kind])
            case Kind.SEND:
                return peer.send(s, key.lanes, key.sender, key.device)
            case Kind.GATHER:
                return peer.gather(s, unit, key.device)
            case _:
                raise ValueError(f"{kind} is first-order: zo2sim.baselines prices it")


_RESOURCES = {
    Kind.H2D: Resource.LINK_H2D,
    Kind.D2H: Resource.LINK_D2H,
    Kind.READ: Resource.NVME_READ,
    Kind.WRITE: Resource.NVME_WRITE,
}
