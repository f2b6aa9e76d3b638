"""What every cost is computed from, and the sizes that several of them need."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zo2sim.cost.kernels import KernelModel, for_dtype
from zo2sim.dtypes import Dtype
from zo2sim.machines.cpu import Cpu
from zo2sim.machines.machine import Machine
from zo2sim.machines.node import Node
from zo2sim.models.shapes import Gemm, Model, Unit
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.placement import cuts, microbatches
from zo2sim.plan.workload import STEP, Workload
from zo2sim.schedule.ops import HEAD, TAIL
from zo2sim.simulate.work import Number


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

    def of_plans(self, numbers: NDArray[np.int64]) -> "Load":
        """The load of some of the plans, where it is arrays."""
        return Load(
            batch=self.batch[numbers],
            sequence=self.sequence[numbers],
            microbatches=self.microbatches[numbers],
            samples=self.samples[numbers],
        )

    @property
    def lane_tokens(self) -> Number:
        """Tokens that one lane carries: one microbatch."""
        return self.batch * self.sequence


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Model, machine, plan and recipe, and the load, which may be arrays."""

    model: Model
    machine: Machine
    plan: Plan
    recipe: Recipe
    load: Load
    workload: Workload = STEP
    slice_of: int | None = None
    """The device whose slice of a block is meant; None for the whole of it."""

    @cached_property
    def node(self) -> Node:
        """The devices that the plan takes. Raises ``ValueError`` where the machine has fewer."""
        node, wanted = self.machine.node, self.plan.devices
        has = 1 if node is None else node.devices
        if node is None or has < wanted:
            raise ValueError(
                f"devices={wanted} needs a machine with as many; {self.machine.name} has {has}: "
                "use one that zo2sim machines lists, as 8x-a100, or a machine file with [node]"
            )
        return node.of(wanted)

    @property
    def several(self) -> Node | None:
        """The machine's devices where the plan takes several; None where it takes one, or parts of
        the host's cores, which share the host's memory alone."""
        cores = self.machine.node is None and self.machine.architecture == "host"
        return None if self.plan.devices == 1 or cores else self.node

    def of_part(self, part: int) -> "Setting":
        """The same with one part of the microbatches."""
        first, end = microbatches(part, self.plan.lane_parts, self.load.microbatches)
        return replace(self, load=replace(self.load, microbatches=end - first))

    @property
    def published(self) -> bool:
        """The published code of ZO2: a copy per tensor."""
        return self.plan.policy.traits.published

    @property
    def unfused(self) -> bool:
        """Noise as MeZO and ZO2 draw it: a tensor of z per parameter, and a kernel per operator."""
        return self.published or self.recipe.noise == "torch"

    @property
    def eager(self) -> bool:
        """Attention operator by operator, as the published codes of ZO2 and MeZO compute it."""
        if self.workload.attention == "auto":
            return self.published_arithmetic
        return self.workload.attention == "eager"

    @property
    def published_arithmetic(self) -> bool:
        """The published codes of ZO2 and MeZO, which run lane after lane in one thread."""
        return self.unfused and self.recipe.perturbation == "in_place"

    @property
    def copies(self) -> Literal["", "pageable_", "staged_"]:
        """Prefix of the link's rates for host weights that are not page-locked."""
        match self.plan.pinning:
            case "pageable":
                return "pageable_"
            case "staged":
                return "staged_"
            case _:
                return ""

    @property
    def cpu(self) -> Cpu | None:
        """Constants of the host's cores where they are the device; they hold in fp32."""
        return self.machine.cpu if self.recipe.compute_dtype is Dtype.FP32 else None

    @cached_property
    def kernels(self) -> KernelModel:
        """Times of matrix kernels; fp32 has no table and takes the roofline at its own rates.

        Raises ``ValueError`` when the device lacks the compute dtype.
        """
        return for_dtype(self.machine, self.recipe.compute_dtype)

    @property
    def streamed_share(self) -> float:
        """Share of the blocks that stream."""
        if not self.plan.policy.traits.streams:
            return 0.0
        return 1.0 - self.plan.resident_blocks / self.model.num_blocks

    def draws_once(self, number: int, lanes: str) -> bool:
        """W- comes from W+'s draw: both have room, and neither needs a base of its own."""
        own_base = self.recipe.recoded and number >= 0
        return self.plan.scratch_copies == 2 and lanes == "+-" and not own_base

    def unit(self, number: int) -> Unit:
        """The unit of that number."""
        if number == HEAD:
            return self.model.head
        return self.model.tail if number == TAIL else self.model.blocks[number]

    def gemm_rows(self, gemm: Gemm) -> Number:
        """Rows of a lane's matrix product; a router may leave less than one."""
        rows = self.load.lane_tokens * gemm.rows_per_token
        return np.maximum(rows + self.load.batch * gemm.rows_per_sequence, 1.0)

    def unit_bytes(self, number: int, dtype: Dtype) -> int:
        """Bytes of a unit's flat buffer in a format; an integer one encodes blocks alone."""
        plain = self.recipe.plain_dtype
        if number < 0 and dtype.is_integer:
            dtype = plain
        return self._sliced(number, self.unit(number).buffer_bytes(dtype, plain))

    def trained(self, number: int) -> int:
        """Elements that an update draws noise for; the adapters of LoRA live with the head."""
        rank = self.recipe.lora_rank
        if rank is None:
            return self._sliced(number, self.unit(number).elements)
        if number == HEAD:
            return sum(block.lora_elements(rank) for block in self.model.blocks)
        return 0

    def perturbed(self, number: int) -> int:
        """Elements of W+ that this unit's lanes need; what it borrows is built again."""
        rank = self.recipe.lora_rank
        if rank is None:
            unit = self.unit(number)
            return unit.elements + sum(p.elements for p in unit.borrowed)
        return self.unit(number).lora_elements(rank) if number >= 0 else 0

    def _sliced(self, number: int, amount: int) -> int:
        """The part of a block's amount that its device's slice has, by elements."""
        if self.slice_of is None:
            return amount
        elements = self.unit(number).elements
        own = cuts(elements, self.plan.devices)[self.slice_of]
        return amount * len(own) // elements
