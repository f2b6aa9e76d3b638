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

ADAPTER_KERNELS = 3
"""Per adapted linear layer: into the rank, out of it, and the sum."""


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
        """Elements that an update draws noise for; adapters and scales live with the head."""
        if not self.recipe.frozen_blocks:
            return self._sliced(number, self.unit(number).elements)
        return sum(map(sum, self._beside)) if number == HEAD else 0

    def trained_tensors(self, number: int) -> int:
        """Tensors that they are in."""
        if not self.recipe.frozen_blocks:
            return len(self.unit(number).parameters)
        return sum(map(len, self._beside)) if number == HEAD else 0

    def perturbed(self, number: int) -> int:
        """Elements of W+ that this unit's lanes need; what it borrows is built again."""
        if not self.recipe.frozen_blocks:
            unit = self.unit(number)
            return unit.elements + sum(p.elements for p in unit.borrowed)
        return sum(self._beside[number]) if number >= 0 else 0

    def perturbed_tensors(self, number: int) -> int:
        """Tensors that they are in."""
        if not self.recipe.frozen_blocks:
            unit = self.unit(number)
            return len(unit.parameters) + len(unit.borrowed)
        return len(self._beside[number]) if number >= 0 else 0

    @cached_property
    def _beside(self) -> tuple[tuple[int, ...], ...]:
        """Elements of what trains beside each block; those of equal blocks are counted once."""
        model, about = self.model, (self.recipe.lora_rank, self.recipe.storage_dtype)
        first = {b: model.blocks[b].beside(*about) for b in set(model.first_alike)}
        return tuple(first[b] for b in model.first_alike)

    def decodes(self, lanes: str) -> Number:
        """Times that integers are decoded for some lanes: once, or for all W+ and W- of scales."""
        each = self.recipe.trains_scales and lanes != "0"
        return len(lanes) * self.load.samples if each else 1

    def _sliced(self, number: int, amount: int) -> int:
        """The part of a block's amount that its device's slice has, by elements."""
        if self.slice_of is None:
            return amount
        elements = self.unit(number).elements
        own = cuts(elements, self.plan.devices)[self.slice_of]
        return amount * len(own) // elements
