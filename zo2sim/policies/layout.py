"""What a plan fixes for every policy: who is resident, who takes which slot, what is touched."""

from dataclasses import dataclass
from functools import lru_cache

from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.schedule.ops import HEAD, TAIL, Buffer, BufferSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """All that a policy needs to know of a model."""

    num_blocks: int
    tied: bool = False
    forwards: int = 1
    """Forward passes in one evaluation of the loss: each is a trip over the blocks."""

    def __post_init__(self) -> None:
        for name in ("num_blocks", "forwards"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1; got {getattr(self, name)}")

    @classmethod
    def of(cls, model: Model) -> "Shape":
        return cls(num_blocks=model.num_blocks, tied=model.tied)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Placement of units and the buffers that each operation touches."""

    shape: Shape
    plan: Plan
    recipe: Recipe

    def __post_init__(self) -> None:
        if self.plan.resident_blocks > self.shape.num_blocks:
            raise ValueError(
                f"resident_blocks must be at most the model's {self.shape.num_blocks} blocks; "
                f"got {self.plan.resident_blocks}"
            )

    @property
    def units(self) -> tuple[int, ...]:
        """Every unit in execution order."""
        return (HEAD, *range(self.shape.num_blocks), TAIL)

    @property
    def num_resident(self) -> int:
        """Blocks that stay on the device."""
        streams = self.plan.policy.traits.streams
        return self.plan.resident_blocks if streams else self.shape.num_blocks

    @property
    def streamed(self) -> tuple[int, ...]:
        """Blocks that pass through slots."""
        return _between(self.num_resident, self.shape.num_blocks)

    @property
    def resident(self) -> tuple[int, ...]:
        """Blocks that stay."""
        streamed = set(self.streamed)
        return tuple(b for b in range(self.shape.num_blocks) if b not in streamed)

    @property
    def num_slots(self) -> int:
        """Slots in use: no more than there are streamed blocks."""
        wanted = 3 if self.plan.policy.traits.published else self.plan.num_slots
        return min(wanted, self.shape.num_blocks - self.num_resident)

    @property
    def frozen(self) -> bool:
        """Blocks are only read; what trains, adapters or scales, lives with the head."""
        return self.recipe.frozen_blocks

    @property
    def in_place(self) -> bool:
        """A FORWARD changes the weights that it reads; the published code always does."""
        published = self.plan.policy.traits.published
        return not self.frozen and (published or self.recipe.perturbation == "in_place")

    def is_streamed(self, unit: int) -> bool:
        """Whether it is a block that passes through slots."""
        return unit >= 0 and _is_between(unit, self.num_resident, self.shape.num_blocks)

    def slot(self, block: int) -> int:
        """The slot of a streamed block; consecutive streamed blocks take consecutive slots."""
        before = block - block * self.num_resident // self.shape.num_blocks
        return before % self.num_slots

    def weights(self, unit: int) -> Buffer:
        """The device buffer that holds a unit's weights while it computes."""
        if self.is_streamed(unit):
            return Buffer(BufferSpace.SLOT, self.slot(unit))
        return Buffer(BufferSpace.RESIDENT, unit)

    def source(self, block: int) -> Buffer:
        """The host buffer that an upload reads."""
        if self.plan.tier == "nvme":
            return Buffer(BufferSpace.STAGE_IN, self.slot(block))
        if self.recipe.recoded:
            return Buffer(BufferSpace.WIRE, self.slot(block))
        return Buffer(BufferSpace.HOST, block)

    def target(self, block: int) -> Buffer:
        """The host buffer that an offload writes."""
        if self.plan.tier == "nvme":
            return Buffer(BufferSpace.STAGE_OUT, self.slot(block))
        return Buffer(BufferSpace.HOST, block)

    def read_by_forward(self, unit: int) -> tuple[Buffer, ...]:
        """The unit's weights, and the head's where the unit shares them or has adapters there."""
        shares = self.shares_head(unit) or (unit >= 0 and self.frozen)
        head = (Buffer(BufferSpace.RESIDENT, HEAD),) if shares else ()
        return (self.weights(unit), *head)

    def changed_by_forward(self, unit: int) -> tuple[Buffer, ...]:
        """Weights that in-place perturbation writes."""
        if not self.in_place:
            return ()
        head = (Buffer(BufferSpace.RESIDENT, HEAD),) if self.shares_head(unit) else ()
        return (self.weights(unit), *head)

    def shares_head(self, unit: int) -> bool:
        """The tail of a tied model reads the embedding's weight."""
        return unit == TAIL and self.shape.tied

    def scratch(self, unit: int, lanes: str) -> tuple[Buffer, ...]:
        """Buffers in which a FORWARD builds what its lanes run with.

        In place, only a matrix that the tail reads after the head needs one: its values for W+ are
        gone when the head is done. Unperturbed weights need one where they change their format.
        """
        if self.in_place:
            copies = int(unit == HEAD and self.shape.tied and lanes != "0")
        elif lanes == "0" or not (self.is_trained(unit) or unit >= 0):
            copies = int(self.converts(unit))
        else:
            copies = self.plan.scratch_copies
        return tuple(Buffer(BufferSpace.SCRATCH, i) for i in range(copies))

    def converts(self, unit: int) -> bool:
        """A lane cannot run with the unit's weights as the device holds them."""
        recipe = self.recipe
        if recipe.recoded and unit >= 0:
            return not self.is_streamed(unit) or recipe.wire_dtype is not recipe.compute_dtype
        held = recipe.storage_dtype if unit >= 0 else recipe.plain_dtype
        return held is not recipe.compute_dtype

    def record(self, step: int) -> Buffer:
        """Where the projected gradients of a step live: a ring of ``write_back_every``."""
        return Buffer(BufferSpace.RECORD, step % self.plan.write_back_every)

    def is_trained(self, unit: int) -> bool:
        """With LoRA only the adapters are, and they live with the head."""
        return unit == HEAD or not self.frozen


def _is_between(block: int, count: int, total: int) -> bool:
    """Resident blocks are spread evenly, so that the link works while they compute."""
    return (block + 1) * count // total == block * count // total


@lru_cache(maxsize=1024)
def _between(count: int, total: int) -> tuple[int, ...]:
    """All of them: a search asks for the same ones thousands of times."""
    return tuple(block for block in range(total) if _is_between(block, count, total))
