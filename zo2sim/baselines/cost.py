"""What the operations of first-order training cost, from the same kernels, link and NVMe.

Backward of C = A B is dA = dC B^T and dB = A^T dC, each priced by its own shape. Backward of fused
attention is five products where forward is two (arXiv:2205.14135, appendix B); eager attention
keeps its scores, so it has four, and computes those above the diagonal as well, product by
product. What a block moves beside its products, `zo2sim.baselines.traffic` counts; head and tail,
and blocks of experts, move twice the bytes of an inference forward pass in backward.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from zo2sim.baselines.memory import STATE_BYTES, SUM_BYTES
from zo2sim.baselines.traffic import (
    BUCKETED_GRADIENT,
    SENT_GRADIENT,
    SUMMED_GRADIENT,
    Code,
    has_dense_layers,
    traffic,
)
from zo2sim.baselines.training import Method, Training
from zo2sim.cost.forward import (
    attention_s,
    eager_s,
    gemms_s,
    launches,
    loss,
    moving_s,
)
from zo2sim.cost.setting import Load, Setting
from zo2sim.cost.transfer import over_link, rates, through_nvme
from zo2sim.machines.machine import Machine
from zo2sim.models.shapes import Model, Unit
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.schedule.ops import BufferSpace, Kind, Op
from zo2sim.simulate.work import Rates, Resource, Work

CPU_ADAM_ELEMENTS_PER_S = 11.6e9 / 8.2
"""DeepSpeed's CPU-Adam on a whole host: 8.2 s for 11.6e9 parameters (deepspeedai/DeepSpeed pull
735, February 2021; the host is not named)."""
FUSED_BACKWARD = 2.5
"""Backward over forward of fused attention."""


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """Costs of a baseline's operations; what is alike is computed once.

    Raises ``ValueError`` when the device lacks the format, or the machine NVMe that is needed.
    """

    model: Model
    machine: Machine
    training: Training
    code: Code | None = None
    """Whose kernels run a block; by default those of the attention that ``training`` names."""

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
        summing = any(b.space is BufferSpace.HOST_GRADIENT for b in op.reads)
        key = (op.kind, unit, summing, op.trip // 2)
        if key not in self._works:
            self._works[key] = self._price(*key)
        return self._works[key]

    @cached_property
    def _works(self) -> dict[tuple[Kind, int | None, bool, int], Work]:
        return {}

    def _price(self, kind: Kind, unit: int | None, summing: bool, microbatch: int) -> Work:
        if kind is Kind.LOSS:
            return loss(self.setting)
        if unit is None:
            raise ValueError(f"{kind} must name a unit; got none")
        match kind:
            case Kind.FORWARD:
                return self._compute(self.forward_s(unit))
            case Kind.BACKWARD:
                again_s = self.forward_s(unit) if self.training.checkpointing and unit >= 0 else 0.0
                passes_s = self.gradient_passes_s(unit, microbatch)
                return self._compute(self.backward_s(unit) + again_s + passes_s)
            case Kind.OPTIMIZE:
                return self._compute(self._passes_s(self._elements(unit) * self._optimizer_bytes))
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
        seconds = self._moving_s(unit)[0] + gemms_s(s, shape) + self._attention_s(shape)[0]
        return float(np.maximum(seconds, launches(s, shape) * s.machine.device.launch_s.value))

    def backward_s(self, unit: int) -> float:
        """Gradients of a unit's inputs and weights, recomputation apart."""
        s, shape = self.setting, self.setting.unit(unit)
        seconds = self._moving_s(unit)[1] + self._attention_s(shape)[1]
        for gemm in shape.gemms:
            rows = s.gemm_rows(gemm)
            inputs_s = s.kernels.gemm_s(rows, gemm.k, gemm.n)
            weights_s = s.kernels.gemm_s(gemm.n, gemm.k, rows)
            seconds = seconds + gemm.count * (inputs_s + weights_s)
        return float(np.maximum(seconds, 2 * launches(s, shape) * s.machine.device.launch_s.value))

    def gradient_passes_s(self, unit: int, microbatch: int) -> float:
        """What DeepSpeed's ZeRO-Offload does to a gradient on the device before it leaves."""
        if self.training.method is not Method.ZERO_OFFLOAD:
            return 0.0
        passes = sum(BUCKETED_GRADIENT.values())
        if microbatch > 0:
            passes += sum(SUMMED_GRADIENT.values())
        if microbatch == self.training.microbatches - 1:
            passes += sum(SENT_GRADIENT.values())
        return self._passes_s(self._elements(unit) * passes)

    def _moving_s(self, unit: int) -> tuple[float, float]:
        """Everything beside products, forward and backward."""
        shape, training = self.setting.unit(unit), self.training
        if unit < 0 or not has_dense_layers(shape):
            inference_s = float(moving_s(self.setting, unit, eager=self._eager))
            return inference_s, 2 * inference_s
        code = self.code or Code(training.attention)
        moved = traffic(shape, hidden=self.model.hidden, sequence=training.sequence, code=code)
        ways = (moved.forward_bytes, moved.backward_bytes)
        forward_s, backward_s = (self._passes_s(self._tokens * nbytes) for nbytes in ways)
        return forward_s, backward_s

    def _passes_s(self, nbytes: float) -> float:
        """Element-wise kernels over so many bytes of the device's memory."""
        return nbytes / self.machine.device.pass_bytes_per_s

    def _attention_s(self, shape: Unit) -> tuple[float, float]:
        """Attention, forward and backward: one kernel each, or products that move the scores.

        Gradients of scores take what scores take, those of values, queries and keys what the
        result takes.
        """
        if not self._eager:
            fused_s = float(attention_s(self.setting, shape))
            return fused_s, FUSED_BACKWARD * fused_s
        scores_s, result_s = map(float, eager_s(self.setting, shape))
        return scores_s + result_s, scores_s + 3 * result_s

    @property
    def _tokens(self) -> int:
        """Tokens of one microbatch."""
        return self.training.batch * self.training.sequence

    @property
    def _eager(self) -> bool:
        if self.code is not None:
            return self.code is not Code.FUSED
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
            return self._tokens * self.model.hidden * size
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
