"""What the operations of first-order training cost, from the same kernels, link and NVMe.

Backward of C = A B is dA = dC B^T and dB = A^T dC, each priced by its own shape. Backward of fused
attention is five products where forward is two (arXiv:2205.14135, appendix B); eager attention
keeps its scores, so it has four, and computes those above the diagonal as well. Everything
element-wise moves twice the bytes of the forward pass.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from zo2sim.baselines.memory import STATE_BYTES, SUM_BYTES
from zo2sim.baselines.training import Training
from zo2sim.cost.forward import (
    attention_s,
    gemm_rows,
    gemms_s,
    launches,
    loss,
    moving_s,
)
from zo2sim.cost.setting import Load, Setting
from zo2sim.cost.transfer import over_link, rates, through_nvme
from zo2sim.machine import Machine
from zo2sim.model import Model
from zo2sim.plan import Plan, Recipe
from zo2sim.resources import Rates, Resource, Work
from zo2sim.schedule import Kind, Op, Space

CPU_ADAM_ELEMENTS_PER_S = 11.6e9 / 8.2
"""DeepSpeed's CPU-Adam on a whole host: 8.2 s for 11.6e9 parameters (deepspeedai/DeepSpeed pull
735, February 2021; the host is not named)."""
FUSED_BACKWARD, EAGER_BACKWARD = 2.5, 2.0
"""Backward over forward of attention's matrix products."""


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """Costs of a baseline's operations; what is alike is computed once.

    Raises ``ValueError`` when the device lacks the format, or the machine NVMe that is needed.
    """

    model: Model
    machine: Machine
    training: Training

    def __post_init__(self) -> None:
        if "nvme" in self.training.homes.used and self.machine.nvme is None:
            raise ValueError(
                f"{self.machine.name}: method={self.training.method} keeps weights and states on "
                "NVMe, so the machine file must have a section [nvme]; it has none; use "
                "method=zero_offload"
            )

    @cached_property
    def setting(self) -> Setting:
        """The forward pass of one lane, without noise."""
        t = self.training
        recipe = Recipe(
            batch=t.batch,
            sequence=t.sequence,
            storage_dtype=t.dtype,
            wire_dtype=t.dtype,
            compute_dtype=t.dtype,
        )
        return Setting(
            model=self.model,
            machine=self.machine,
            plan=Plan(),
            recipe=recipe,
            load=Load.of(recipe),
        )

    @property
    def rates(self) -> Rates:
        return rates(self.setting)

    def __call__(self, op: Op) -> Work:
        """The work of one operation."""
        unit = op.unit
        if unit is not None and unit >= 0:
            unit = self.model.first_alike[unit]
        summing = any(b.space is Space.HOST_GRADIENT for b in op.reads)
        key = (op.kind, unit, summing)
        if key not in self._works:
            self._works[key] = self._price(*key)
        return self._works[key]

    @cached_property
    def _works(self) -> dict[tuple[Kind, int | None, bool], Work]:
        return {}

    def _price(self, kind: Kind, unit: int | None, summing: bool) -> Work:
        if kind is Kind.LOSS:
            return loss(self.setting)
        if unit is None:
            raise ValueError(f"{kind} must name a unit; got none")
        match kind:
            case Kind.FORWARD:
                return self._compute(self.forward_s(unit))
            case Kind.BACKWARD:
                again_s = self.forward_s(unit) if self.training.checkpointing and unit >= 0 else 0.0
                return self._compute(self.backward_s(unit) + again_s)
            case Kind.OPTIMIZE:
                nbytes = self._elements(unit) * self._optimizer_bytes
                return self._compute(nbytes / self.machine.device.memory_bytes_per_s.value)
            case Kind.HOST_OPTIMIZE:
                return self._host_optimize(unit)
            case Kind.GRADIENT_D2H:
                return self._download(unit, summing=summing)
            case Kind.SPILL | Kind.RESTORE | Kind.H2D:
                return over_link(self.setting, self._moved_bytes(kind, unit), _LINKS[kind])
            case Kind.READ | Kind.STATE_READ | Kind.STATE_WRITE | Kind.GRADIENT_WRITE:
                return through_nvme(self.setting, self._moved_bytes(kind, unit), _DRIVES[kind])
            case _:
                raise ValueError(f"{kind} is no operation of first-order training")

    def forward_s(self, unit: int) -> float:
        """One microbatch through a unit: its kernels, or their launches where these take longer."""
        s, shape = self.setting, self.setting.unit(unit)
        attention = attention_s(s, shape, masked=self._eager)
        seconds = moving_s(s, unit, eager=self._eager) + gemms_s(s, shape) + attention
        return float(np.maximum(seconds, launches(s, shape) * s.machine.device.launch_s.value))

    def backward_s(self, unit: int) -> float:
        """Gradients of a unit's inputs and weights, recomputation apart."""
        s, shape = self.setting, self.setting.unit(unit)
        seconds = 2 * moving_s(s, unit, eager=self._eager)
        for gemm in shape.gemms:
            rows = gemm_rows(s, gemm)
            inputs_s = s.kernels.gemm_s(rows, gemm.k, gemm.n)
            weights_s = s.kernels.gemm_s(gemm.n, gemm.k, rows)
            seconds = seconds + gemm.count * (inputs_s + weights_s)
        products = EAGER_BACKWARD if self._eager else FUSED_BACKWARD
        seconds = seconds + products * attention_s(s, shape, masked=self._eager)
        return float(np.maximum(seconds, 2 * launches(s, shape) * s.machine.device.launch_s.value))

    @property
    def _eager(self) -> bool:
        return self.training.attention == "eager"

    @property
    def _optimizer_bytes(self) -> int:
        """Gradient read, states read and written, weights written."""
        return 2 * self.training.dtype.bytes + 2 * STATE_BYTES

    def _elements(self, unit: int) -> int:
        return self.setting.unit(unit).elements

    def _host_optimize(self, unit: int) -> Work:
        """Every core takes part; states are read and written, gradient read, weights written."""
        elements = self._elements(unit)
        core_s = elements / CPU_ADAM_ELEMENTS_PER_S * self.machine.host.num_cores.value
        nbytes = elements * (2 * STATE_BYTES + SUM_BYTES + self.training.dtype.bytes)
        return Work(amounts={Resource.CPU: core_s, Resource.DRAM: nbytes})

    def _download(self, unit: int, *, summing: bool) -> Work:
        """A gradient to the host; a sum is read and written there, too."""
        nbytes = self._elements(unit) * self.training.dtype.bytes
        work = over_link(self.setting, nbytes, Resource.LINK_D2H)
        extra = 2 * SUM_BYTES * self._elements(unit) if summing else 0
        dram = work.amounts[Resource.DRAM] + extra
        return Work(fixed_s=work.fixed_s, amounts={**work.amounts, Resource.DRAM: dram})

    def _moved_bytes(self, kind: Kind, unit: int) -> int:
        elements, size = self._elements(unit), self.training.dtype.bytes
        if kind in (Kind.SPILL, Kind.RESTORE):
            return self.training.batch * self.training.sequence * self.model.hidden * size
        if kind is Kind.STATE_READ:
            gradient = SUM_BYTES if self.training.homes.gradients == "nvme" else 0
            return elements * (STATE_BYTES + gradient)
        if kind is Kind.STATE_WRITE:
            return elements * (STATE_BYTES + size)
        return elements * (SUM_BYTES if kind is Kind.GRADIENT_WRITE else size)

    def _compute(self, seconds: float) -> Work:
        return Work(amounts={Resource.COMPUTE: seconds})


_LINKS = {
    Kind.H2D: Resource.LINK_H2D,
    Kind.RESTORE: Resource.LINK_H2D,
    Kind.SPILL: Resource.LINK_D2H,
}
_DRIVES = {
    Kind.READ: Resource.NVME_READ,
    Kind.STATE_READ: Resource.NVME_READ,
    Kind.STATE_WRITE: Resource.NVME_WRITE,
    Kind.GRADIENT_WRITE: Resource.NVME_WRITE,
}
