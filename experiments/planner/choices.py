"""What the page's sliders choose from, and which plans are stored for every position of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from zo2sim.dtypes import Dtype
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Policy, Recipe

MICROBATCHES = (1, 2, 4, 8, 16, 32)
"""Microbatches per step; each is one sequence."""
CARDS = (1, 2, 4, 8)
"""Cards in one computer, where there is such a one; they share the blocks as on a ring."""
_RANK = "lora:16"
_MOST_VISITS = 200
"""Blocks in a period of a stored plan: the walk of a deep model with long periods takes long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How weights are stored and what of them is trained."""

    storage: str
    trains: str
    recipe: Recipe

    @property
    def key(self) -> str:
        """``int4 adapters``."""
        return f"{self.storage} {self.trains}"


def _adapters(storage: Dtype) -> Format:
    recipe = Recipe(trainable=_RANK, storage_dtype=storage)
    return Format(storage=str(storage), trains="adapters", recipe=recipe)


FORMATS = (
    Format(storage="fp16", trains="all", recipe=Recipe()),
    _adapters(Dtype.FP16),
    _adapters(Dtype.INT8),
    _adapters(Dtype.INT4),
)
"""Every pair that the page offers; integers take no update, so they go with adapters alone."""


def stored_plans(model: Model, recipe: Recipe, cards: int = 1) -> tuple[Plan, ...]:
    """The plans whose steps are stored: few, and among them those that need the least memory.

    The smallest on the device has one slot, the smallest on the host leaves blocks on the drive;
    some with one slot tell the page of those with any number of resident blocks. The others are
    those that a search chooses most: W+ and W- from one draw, some blocks resident,
    and where all is trained also a download every few steps only. Of several cards there are
    fewer, as their programs are longer, and none with a drive, which serves one card alone; groups
    of lanes are left to `zo2sim.predict.case.of_usual_devices`.
    """
    writes_back = recipe.lora_rank is None
    if cards == 1:
        return tuple(dict.fromkeys(_plans(model.num_blocks, writes_back=writes_back)))
    plans = _plans_of_several(model.num_blocks, writes_back=writes_back)
    return tuple(dict.fromkeys(replace(plan, devices=cards) for plan in plans))


def _plans_of_several(blocks: int, *, writes_back: bool) -> Iterator[Plan]:
    for copies in (1, 2):
        yield Plan(policy=Policy.RESIDENT, scratch_copies=copies)
    for stay in (0, blocks // 2, blocks - 1):
        yield Plan(resident_blocks=stay, num_slots=1)
    for quarters in range(4):
        yield Plan(resident_blocks=blocks * quarters // 4, scratch_copies=2)
    if writes_back:
        yield Plan(write_back_every=2, scratch_copies=2)


def _plans(blocks: int, *, writes_back: bool) -> Iterator[Plan]:
    for copies in (1, 2):
        yield Plan(policy=Policy.RESIDENT, scratch_copies=copies)
    for tier in ("ram", "nvme"):
        for slots in (1, 2):
            yield Plan(tier=tier, num_slots=slots)
        yield Plan(tier=tier, scratch_copies=2)
    for eighths in range(1, 8):
        stay = blocks * eighths // 8
        yield Plan(resident_blocks=stay, scratch_copies=2)
        if eighths % 2 == 0:
            yield Plan(resident_blocks=stay)
    for stay in (blocks // 2, blocks - 1):
        yield Plan(resident_blocks=stay, num_slots=1)
    for every in (2, 4, 8) if writes_back else ():
        if every == 2 or every * blocks <= _MOST_VISITS:
            yield Plan(write_back_every=every, scratch_copies=2)
            yield Plan(write_back_every=every, scratch_copies=2, tier="nvme")
