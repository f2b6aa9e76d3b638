"""What an operation costs: from shapes and machine constants to fixed time and amounts.

Every formula takes numbers or arrays (one value per plan) alike, so the simulator and the
vectorised fast path share it. The sources of the constants stand in the machine file.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from zo2sim.dtypes import Dtype
from zo2sim.kernels import KernelModel, for_machine
from zo2sim.machine import Machine
from zo2sim.model import Model, Unit
from zo2sim.plan import Plan, Policy, Recipe
from zo2sim.resources import Number, Rates, Resource, Work
from zo2sim.schedule import HEAD, TAIL, Kind, Op

PAGEABLE_DRAM_PASSES = 3  # read the source, write the driver's bounce buffer, read it again
LOSS_BYTES_PER_LOGIT = 4 + 4  # fp32 log-softmax written and read; the logits' own read comes on top
UNFUSED_PERTURB_PASSES = 8  # write z; read z, write s*z; read, write *eps; read, read, write theta
UNFUSED_UPDATE_PASSES = 13  # write z; g*z 2; wd*theta 2; sum 3; lr* 2; theta - 3
UNFUSED_PERTURB_KERNELS = 4
UNFUSED_UPDATE_KERNELS = 6
IN_PLACE_BUILDS = {"+-": 3, "+": 1, "-": 2}  # +eps, -2 eps, +eps: W-'s trip also restores

Key = tuple[Kind, int | None, str, int]
"""Kind, unit, lanes and records: operations that agree on these cost the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much data one step processes: numbers, or arrays with one value per plan."""

    batch: Number
    sequence: Number
    microbatches: Number
    samples: Number

    @classmethod
    def of(cls, recipe: Recipe) -> "Load":
        return cls(
            batch=recipe.batch,
            sequence=recipe.sequence,
            microbatches=recipe.microbatches,
            samples=recipe.samples,
        )


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Costs of the operations of one model, plan and recipe on one machine.

    Raises ``ValueError`` when the device lacks the compute dtype.
    """

    model: Model
    machine: Machine
    plan: Plan
    recipe: Recipe
    load: Load

    @classmethod
    def of(cls, model: Model, machine: Machine, plan: Plan, recipe: Recipe) -> "CostModel":
        return cls(model=model, machine=machine, plan=plan, recipe=recipe, load=Load.of(recipe))

    def __call__(self, op: Op) -> Work:
        """The work of one operation; what is alike is computed once."""
        key = self.key(op)
        if key not in self._works:
            self._works[key] = self._price(*key)
        return self._works[key]

    def key(self, op: Op) -> Key:
        """What the cost depends on: blocks of equal shape share their first one's number."""
        unit = op.unit
        if unit is not None and unit >= 0:
            unit = self._representative[unit]
        return op.kind, unit, op.lanes, op.records

    @cached_property
    def _representative(self) -> tuple[int, ...]:
        first: dict[object, int] = {}
        return tuple(first.setdefault(_cost_key(b), i) for i, b in enumerate(self.model.blocks))

    @cached_property
    def _works(self) -> dict[Key, Work]:
        return {}

    def _price(self, kind: Kind, unit: int | None, lanes: str, records: int) -> Work:
        match kind:
            case Kind.LOSS:
                return self._loss()
            case Kind.JOURNAL:
                return Work(fixed_s=self.machine.host.fsync_s.value, amounts={})
            case Kind.ALLOC:
                return Work(fixed_s=self.machine.device.alloc_s.value, amounts={})
            case _ if unit is None:
                raise ValueError(f"{kind} must name a unit; got none")
            case Kind.FORWARD:
                return self._forward(unit, lanes)
            case Kind.UPDATE:
                return self._update(unit, records)
            case Kind.H2D | Kind.D2H:
                return self._copy(unit, kind)
            case Kind.READ | Kind.WRITE:
                return self._disk(unit, kind)
            case Kind.ENCODE:
                return self._encode(unit)
            case Kind.HOST_UPDATE:
                return self._host_update(unit, records)

    # Rates

    @property
    def rates(self) -> Rates:
        """Capacities under this plan; pageable copies go at the pageable rate in every state."""
        link, host, nvme = self.machine.link, self.machine.host, self.machine.nvme
        h2d, d2h = link.h2d_bytes_per_s.value, link.d2h_bytes_per_s.value
        both = link.both_h2d_bytes_per_s.value, link.both_d2h_bytes_per_s.value
        if self._pageable:
            h2d, d2h = link.pageable_h2d_bytes_per_s.value, link.pageable_d2h_bytes_per_s.value
            both = min(both[0], h2d), min(both[1], d2h)
        return Rates(
            link_h2d=h2d,
            link_d2h=d2h,
            both_h2d=both[0],
            both_d2h=both[1],
            dram=host.dram_bytes_per_s.value,
            cpu=host.num_cores.value,
            nvme_read=nvme.read_bytes_per_s.value if nvme else float("nan"),
            nvme_write=nvme.write_bytes_per_s.value if nvme else float("nan"),
        )

    # Copies

    @property
    def _pageable(self) -> bool:
        return self.plan.pinning == "pageable"

    @property
    def _published(self) -> bool:
        return self.plan.policy is Policy.ZO2_REFERENCE

    def unit(self, number: int) -> Unit:
        """The unit of that number."""
        if number == HEAD:
            return self.model.head
        return self.model.tail if number == TAIL else self.model.blocks[number]

    def unit_bytes(self, number: int, dtype: Dtype) -> int:
        """Bytes of a unit's weights in a format, scales included."""
        unit = self.unit(number)
        return unit.elements * dtype.bytes + unit.rows * dtype.row_scale_bytes

    def _copy(self, number: int, kind: Kind) -> Work:
        down = kind is Kind.D2H
        link = self.machine.link
        resource = Resource.LINK_D2H if down else Resource.LINK_H2D
        rate = self.rates.of(resource)
        nbytes = self.unit_bytes(number, self.recipe.wire_dtype)
        copies = len(self.unit(number).parameters) if self._published else 1
        passes = PAGEABLE_DRAM_PASSES if self._pageable else 1
        return Work(
            fixed_s=copies * (link.latency_s.value + link.half_size_bytes.value / rate),
            amounts={resource: nbytes, Resource.DRAM: nbytes * passes},
        )

    def _disk(self, number: int, kind: Kind) -> Work:
        if self.machine.nvme is None:
            raise ValueError(
                f"{self.machine.name}: tier=nvme needs an [nvme] section in the machine file; "
                "it has none; use tier=ram"
            )
        read = kind is Kind.READ
        nbytes = self.unit_bytes(number, self.recipe.storage_dtype)
        resource = Resource.NVME_READ if read else Resource.NVME_WRITE
        return Work(
            fixed_s=self.machine.nvme.latency_s.value,
            amounts={resource: nbytes, Resource.DRAM: nbytes},
        )

    # Host

    def _encode(self, number: int) -> Work:
        read = self.unit_bytes(number, self.recipe.storage_dtype)
        written = self.unit_bytes(number, self.recipe.wire_dtype)
        core_s = read / self.machine.host.encode_bytes_per_s.value
        return Work(amounts={Resource.CPU: core_s, Resource.DRAM: read + written})

    def _host_update(self, number: int, records: int) -> Work:
        """Draw the noise, read and write the weights; every core takes part."""
        drawn = self._trained(number) * records * self.load.samples
        rate = self.machine.host.update_elements_per_s(self.recipe.noise).value
        nbytes = 2 * self.unit_bytes(number, self.recipe.storage_dtype)
        return Work(amounts={Resource.CPU: drawn / rate, Resource.DRAM: nbytes})

    # Device

    def _trained(self, number: int) -> int:
        """Elements that noise is drawn for: all, or the adapters (which the head holds)."""
        rank = self.recipe.lora_rank
        if rank is None:
            return self.unit(number).elements
        if number == HEAD:
            return sum(block.lora_elements(rank) for block in self.model.blocks)
        return 0

    def _update(self, number: int, records: int) -> Work:
        """Replay records in one pass over the weights; each draws its own noise."""
        if records == 0:
            return Work(amounts={})
        elements = self._trained(number)
        size = self.recipe.storage_dtype.bytes
        draws = elements * records * self.load.samples
        if self._published:
            kernels = UNFUSED_UPDATE_KERNELS * len(self.unit(number).parameters)
            return self._pass(UNFUSED_UPDATE_PASSES * elements * size, draws, kernels)
        return self._pass(2 * elements * size, draws, 1)

    def _pass(self, nbytes: Number, draws: Number, kernels: Number) -> Work:
        return Work(amounts={Resource.COMPUTE: self._pass_s(nbytes, draws, kernels)})

    def _pass_s(self, nbytes: Number, draws: Number, kernels: Number) -> Number:
        """An element-wise pass: memory, noise arithmetic or launches, whichever is slowest."""
        device = self.machine.device
        noise = "torch" if self._published else self.recipe.noise
        return np.maximum(
            np.maximum(
                nbytes / device.memory_bytes_per_s.value,
                draws / device.noise_elements_per_s(noise).value,
            ),
            kernels * device.launch_s.value,
        )

    def _forward(self, number: int, lanes: str) -> Work:
        per_sign = self.load.microbatches * (1 if lanes == "0" else self.load.samples)
        seconds = self.lane_s(number) * len(lanes) * per_sign
        if lanes != "0":
            seconds = seconds + self._build_s(number, lanes)
        return Work(amounts={Resource.COMPUTE: seconds})

    def _build_s(self, number: int, lanes: str) -> Number:
        """Build W+ and W- in scratch, or perturb in place."""
        elements = self._perturbed(number)
        if elements == 0:
            return 0.0
        read = (self.recipe.wire_dtype if number >= 0 else self.recipe.storage_dtype).bytes
        written = self.recipe.compute_dtype.bytes
        if self._published:
            kernels = UNFUSED_PERTURB_KERNELS * len(self.unit(number).parameters)
            one = self._pass_s(UNFUSED_PERTURB_PASSES * elements * read, elements, kernels)
            builds = IN_PLACE_BUILDS[lanes]
        elif self.recipe.perturbation == "in_place":
            one = self._pass_s(2 * elements * read, elements, 1)
            builds = IN_PLACE_BUILDS[lanes]
        elif self.plan.scratch_copies == 2 and lanes == "+-":
            one = self._pass_s(elements * (read + 2 * written), elements, 1)
            builds = 1
        else:
            one = self._pass_s(elements * (read + written), elements, 1)
            builds = len(lanes)
        return builds * self.load.samples * one

    def _perturbed(self, number: int) -> int:
        """Elements of W+ that this unit's lanes need."""
        rank = self.recipe.lora_rank
        if rank is None:
            return self.unit(number).elements
        return self.unit(number).lora_elements(rank) if number >= 0 else 0

    def lane_s(self, number: int) -> Number:
        """One lane through one unit, at its microbatch: kernels, or launches where they are short.

        The tail's lane ends with its loss.
        """
        unit, device = self.unit(number), self.machine.device
        tokens = self.load.batch * self.load.sequence
        size = self.recipe.compute_dtype.bytes
        nbytes = unit.elementwise * tokens * size
        if number == TAIL:
            nbytes = nbytes + self.model.vocab * tokens * (size + LOSS_BYTES_PER_LOGIT)
        seconds = nbytes / device.memory_bytes_per_s.value + self._matrix_s(unit, tokens)
        return np.maximum(seconds, unit.kernels * device.launch_s.value)

    def _matrix_s(self, unit: Unit, tokens: Number) -> Number:
        kernels, scale = self.kernels, self._dtype_scale
        seconds = 0.0
        for gemm in unit.gemms:
            rows = np.maximum(tokens * gemm.rows_per_token, 1.0)
            seconds = seconds + gemm.count * scale * kernels.gemm_s(rows, gemm.n, gemm.k)
        if unit.attention is not None:
            a = unit.attention
            seconds = seconds + scale * kernels.attention_s(
                self.load.batch,
                self.load.sequence,
                a.heads,
                a.kv_heads,
                a.head_dim,
                causal=a.causal,
                window=a.window,
            )
        return seconds

    @cached_property
    def kernels(self) -> KernelModel:
        """Times of matrix kernels at this machine's half-precision rate."""
        return for_machine(self.machine)

    @property
    def _dtype_scale(self) -> float:
        """How much slower than half precision the compute dtype is; refuses what a card lacks."""
        device = self.machine.device
        return device.half_flops_per_s.value / device.flops_per_s(self.recipe.compute_dtype).value

    def _loss(self) -> Work:
        """The lanes' losses come to the host, which computes g: the only wait inside a step."""
        link, device = self.machine.link, self.machine.device
        return Work(
            fixed_s=link.latency_s.value
            + device.launch_s.value
            + self.machine.host.stream_handover_s.value,
            amounts={},
        )


@lru_cache(maxsize=4096)
def _cost_key(unit: Unit) -> object:
    """What a unit's cost depends on: everything but the names of its parameters."""
    shapes = tuple(p.shape for p in unit.parameters)
    return shapes, unit.gemms, unit.attention, unit.elementwise, unit.kernels, unit.linear_shapes
