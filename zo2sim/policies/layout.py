"""What a plan fixes for every policy: who is resident, who takes which slot, what is touched."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.placement import builds_ahead, groups, microbatches, owner
from zo2sim.schedule.ops import HEAD, TAIL, Buffer, BufferSpace, Op


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


class Run(NamedTuple):
    """Lanes of a group that run through a unit on a device."""

    group: int
    lanes: str
    device: int


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
        """Blocks that stay on the device, or on all devices of a ring together."""
        streams = self.plan.policy.traits.streams
        return self.plan.resident_blocks if streams else self.shape.num_blocks

    @property
    def streamed(self) -> tuple[int, ...]:
        """Blocks that pass through slots."""
        return _streamed(self.num_resident, self.shape.num_blocks, self._owners)

    @property
    def resident(self) -> tuple[int, ...]:
        """Blocks that stay."""
        streamed = set(self.streamed)
        return tuple(b for b in range(self.shape.num_blocks) if b not in streamed)

    @property
    def num_slots(self) -> int:
        """Slots in use on each device: no more than there are streamed blocks on any."""
        wanted = 3 if self.plan.policy.traits.published else self.plan.num_slots
        return min(wanted, _most_streamed(self.num_resident, self.shape.num_blocks, self._owners))

    @property
    def _owners(self) -> int:
        """Devices that blocks are dealt to."""
        return self.plan.devices if self.plan.placement == "ring" else 1

    @property
    def sliced(self) -> bool:
        """A streamed block comes to each device in part, and is gathered."""
        return self.plan.placement == "sliced" and self.plan.devices > 1

    def homes(self, unit: int) -> tuple[int, ...]:
        """Devices that hold a unit's weights; adapters that live with the head are everywhere."""
        if self._owners > 1 and not (unit == HEAD and self.frozen):
            return (owner(unit, self._owners),)
        return tuple(range(self.plan.devices))

    def on(self, device: int) -> tuple[int, ...]:
        """Units that lanes pass on a device, in execution order."""
        if self._owners == 1:
            return self.units
        return tuple(unit for unit in self.units if owner(unit, self._owners) == device)

    def num_lanes_on(self, device: int) -> int:
        """Lanes that may be on a device at once: of a ring, all."""
        if self._owners > 1:
            return self.recipe.num_lanes
        own = (group for group in groups(self.plan) if group.device in (device, None))
        return sum(len(g.lanes) * len(self._part(g.part)) * self.recipe.samples for g in own)

    def _part(self, part: int) -> range:
        return range(*microbatches(part, self.plan.lane_parts, self.recipe.microbatches))

    def writers(self, block: int) -> tuple[int, ...]:
        """Devices that write a block back: its own, one of those that hold it all, or each its
        slice."""
        homes = self.homes(block)
        if self.sliced or len(homes) == 1:
            return homes
        return (homes[self.turn(block) // self.plan.write_back_every % len(homes)],)

    def turn(self, block: int) -> int:
        """Its number among the blocks of its device."""
        return block // self._owners

    def runs(self, unit: int, lanes: str) -> Iterator["Run"]:
        """Groups that have some of ``lanes``, each with what it runs, and where."""
        for group in groups(self.plan):
            own = group.among(lanes)
            if own:
                device = owner(unit, self._owners) if group.device is None else group.device
                yield Run(group.number, own, device)

    def lanes(self, op: Op) -> tuple[int, ...]:
        """Numbers of the lanes that an operation runs or sends: sample x sign x microbatch,
        microbatches fastest; unperturbed ones are microbatches alone."""
        count = self.recipe.microbatches
        own = self._part(groups(self.plan)[op.group].part)
        if op.lanes == "0":
            return tuple(own)
        pairs = ((sample, sign) for sample in range(self.recipe.samples) for sign in op.lanes)
        return tuple((2 * i + "+-".index(sign)) * count + m for i, sign in pairs for m in own)

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
        return unit >= 0 and unit in self._slots

    def slot(self, block: int) -> int:
        """The slot of a streamed block; consecutive ones of a device take consecutive slots."""
        return self._slots[block] % self.num_slots

    @property
    def _slots(self) -> Mapping[int, int]:
        return _turns(self.num_resident, self.shape.num_blocks, self._owners)

    def weights(self, unit: int, device: int = 0) -> Buffer:
        """The buffer of a device that holds a unit's weights while it computes."""
        if self.is_streamed(unit):
            return Buffer(BufferSpace.SLOT, self.slot(unit), device)
        return Buffer(BufferSpace.RESIDENT, unit, device)

    def updated(self, unit: int, device: int) -> Buffer:
        """The part of them that the device uploads, updates and writes back."""
        weights = self.weights(unit, device)
        slices = self.sliced and weights.space is BufferSpace.SLOT
        return weights._replace(space=BufferSpace.SLICE) if slices else weights

    def home(self, block: int, device: int) -> Buffer:
        """The host buffer of a streamed block, or of the slice that a device uploads."""
        return Buffer(BufferSpace.HOST, block, device if self.sliced else 0)

    def source(self, block: int, device: int = 0) -> Buffer:
        """The host buffer that an upload reads; what is encoded for several devices is so once."""
        if self.plan.tier == "nvme":
            return Buffer(BufferSpace.STAGE_IN, self.slot(block))
        if self.recipe.recoded:
            return Buffer(BufferSpace.WIRE, self.slot(block), self.homes(block)[0])
        return self.home(block, device)

    def target(self, block: int, device: int = 0) -> Buffer:
        """The host buffer that an offload writes."""
        if self.plan.tier == "nvme":
            return Buffer(BufferSpace.STAGE_OUT, self.slot(block))
        return self.home(block, device)

    def read_by_forward(self, unit: int, device: int) -> tuple[Buffer, ...]:
        """The unit's weights, and the head's where the unit shares them or has adapters there."""
        shares = self.shares_head(unit) or (unit >= 0 and self.frozen)
        head = (Buffer(BufferSpace.RESIDENT, HEAD, device),) if shares else ()
        return (self.weights(unit, device), *head)

    def changed_by_forward(self, unit: int) -> tuple[Buffer, ...]:
        """Weights that in-place perturbation writes, which one device alone can do."""
        if not self.in_place:
            return ()
        head = (Buffer(BufferSpace.RESIDENT, HEAD),) if self.shares_head(unit) else ()
        return (self.weights(unit), *head)

    def shares_head(self, unit: int) -> bool:
        """The tail of a tied model reads the embedding's weight."""
        return unit == TAIL and self.shape.tied

    @property
    def builds_ahead(self) -> bool:
        """A BUILD fills scratch before the forwards of its lanes (`zo2sim.plan.placement`)."""
        return builds_ahead(self.plan, self.recipe)

    def scratch(self, unit: int, lanes: str, device: int = 0) -> tuple[Buffer, ...]:
        """Buffers of a device in which is built what lanes run with.

        In place, only a matrix that the tail reads after the head needs one: its values for W+ are
        gone when the head is done. Unperturbed weights need one where they change their format.
        """
        if self.in_place:
            copies = int(unit == HEAD and self.shape.tied and lanes != "0")
        elif lanes == "0" or not (self.is_trained(unit) or unit >= 0):
            copies = int(self.converts(unit))
        else:
            copies = self.plan.scratch_copies
        return tuple(Buffer(BufferSpace.SCRATCH, i, device) for i in range(copies))

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


@lru_cache(maxsize=1024)
def _turns(count: int, total: int, owners: int) -> Mapping[int, int]:
    """Streamed blocks of ``total`` with ``count`` resident, each with its number on its device.

    Resident ones are spread evenly over the blocks of each device, so that every link works while
    its device computes. A search asks for the same ones thousands of times.
    """
    found: dict[int, int] = {}
    place = 0
    for device in range(owners):
        streamed = 0
        for block in range(device, total, owners):
            if (place + 1) * count // total == place * count // total:
                found[block] = streamed
                streamed += 1
            place += 1
    return found


@lru_cache(maxsize=1024)
def _streamed(count: int, total: int, owners: int) -> tuple[int, ...]:
    return tuple(sorted(_turns(count, total, owners)))


@lru_cache(maxsize=1024)
def _most_streamed(count: int, total: int, owners: int) -> int:
    return max(_turns(count, total, owners).values(), default=-1) + 1
