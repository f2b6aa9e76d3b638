"""What an operation costs: from shapes and machine constants to fixed time and amounts.

Every formula takes numbers or arrays (one value per plan) alike, so the simulator and the
vectorised fast path share it. The sources of the constants stand in the machine file.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from zo2sim.cost import cpu, forward, passes, transfer
from zo2sim.cost.setting import Load, Setting
from zo2sim.machines.machine import Machine
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.workload import STEP, Workload
from zo2sim.schedule.ops import Kind, Op
from zo2sim.simulate.work import Rates, Resource, Work

__all__ = ["CostModel", "Key", "Load", "Setting", "cost_key"]


_MOST = 1e100  # clocks that add such times stay finite

Key = tuple[Kind, int | None, str, int]
"""Kind, unit, lanes and records: operations that agree on these cost the same."""


def cost_key(model: Model, op: Op) -> Key:
    """What an operation's cost depends on: equal blocks share their first one's number."""
    unit = op.unit
    if unit is not None and unit >= 0:
        unit = model.first_alike[unit]
    return op.kind, unit, op.lanes, op.records


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
        key = cost_key(self.setting.model, op)
        if key not in self._works:
            self._works[key] = self._bounded(key)
        return self._works[key]

    @cached_property
    def _works(self) -> dict[Key, Work]:
        return {}

    def _bounded(self, key: Key) -> Work:
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                work = self._price(*key)
        except OverflowError:  # a whole number that no float holds
            work = Work(fixed_s=np.inf, amounts={})
        if all(np.all(amount < _MOST) for amount in (work.fixed_s, *work.amounts.values())):
            return work
        raise ValueError(
            f"{key[0]}: an operation must take less than {_MOST:g} bytes or seconds; batch, "
            "sequence, microbatches, samples and rank ask for more, so make them smaller"
        )

    def _price(self, kind: Kind, unit: int | None, lanes: str, records: int) -> Work:
        s = self.setting
        if s.cpu is None:
            return self._on_device(kind, unit, lanes, records)
        gap_s, wake_s = (cpu.seconds(a, s.machine) for a in (cpu.gap(s, kind), cpu.wake(kind)))
        taken = cpu.amounts(s, kind, unit, lanes, records)
        if taken is not None:
            fixed_s = cpu.seconds(taken, s.machine)
            return Work(fixed_s=fixed_s, amounts={}, gap_s=gap_s, wake_s=wake_s)
        work = self._on_device(kind, unit, lanes, records)
        fixed_s = work.fixed_s + cpu.seconds(cpu.woken(s, kind), s.machine)
        return replace(work, fixed_s=fixed_s, gap_s=gap_s, wake_s=wake_s)

    def _on_device(self, kind: Kind, unit: int | None, lanes: str, records: int) -> Work:
        s = self.setting
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
                return forward.forward(s, unit, lanes)
            case Kind.UPDATE:
                return passes.update(s, unit, records)
            case Kind.HOST_UPDATE:
                return passes.host_update(s, unit, records)
            case Kind.ENCODE:
                return transfer.encode(s, unit)
            case Kind.H2D | Kind.D2H:
                return transfer.copy(s, unit, _RESOURCES[kind])
            case Kind.READ | Kind.WRITE:
                return transfer.disk(s, unit, _RESOURCES[kind])
            case _:
                raise ValueError(f"{kind} is first-order: zo2sim.baselines prices it")


_RESOURCES = {
    Kind.H2D: Resource.LINK_H2D,
    Kind.D2H: Resource.LINK_D2H,
    Kind.READ: Resource.NVME_READ,
    Kind.WRITE: Resource.NVME_WRITE,
}
