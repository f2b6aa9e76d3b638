"""The memory account of many placements at once: every residency with every number of slots.

An account is a sum of items, and only `zo2sim.memory.runtime.placed_items` depend on where blocks
are. So the rest is added up once, and a grid of placements costs little more than its placed items.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from zo2sim.dtypes import Dtype
from zo2sim.memory.account import Item, MemoryAccount, MemoryPlace
from zo2sim.memory.runtime import account, placed_items, segments_bytes
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Policy, Recipe, published_code

Bytes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """Bytes at each place, (resident_blocks, num_slots)."""

    device: Bytes
    host: Bytes
    nvme: Bytes

    def at(self, place: MemoryPlace) -> Bytes:
        """Of one place."""
        return {
            MemoryPlace.DEVICE: self.device,
            MemoryPlace.HOST: self.host,
            MemoryPlace.NVME: self.nvme,
        }[place]


def rooms(
    model: Model,
    plan: Plan,
    recipe: Recipe,
    *,
    context_bytes: int,
    residents: Sequence[int],
    slots: Sequence[int],
) -> Rooms:
    """What `plan` needs with each number of resident blocks and of slots in place of its own.

    Equal to `zo2sim.memory.runtime.account` of each, to the byte.
    """
    if published_code(plan, recipe) is not None:  # neither residency nor slots are its own
        whole = _totals(account(model, plan, recipe, context_bytes=context_bytes))
        return _split(np.tile(whole, (len(residents), len(slots), 1)))
    bare = replace(plan, resident_blocks=0, num_slots=1)
    whole = _totals(account(model, bare, recipe, context_bytes=context_bytes))
    fixed = whole - _placed(placed_items(model, bare, recipe), plan.devices)
    return _split(fixed + _placed_grid(model, plan, recipe, tuple(residents), tuple(slots)))


def _placed_grid(
    model: Model, plan: Plan, recipe: Recipe, residents: tuple[int, ...], slots: tuple[int, ...]
) -> Bytes:
    """Shared by plans and recipes that differ in what no placed item depends on."""
    policy = Policy.ZO2 if plan.policy.traits.streams else Policy.RESIDENT
    plain = Plan(
        policy=policy,
        tier=plan.tier,
        pinning=plan.pinning,
        devices=plan.devices,
        placement=plan.placement,
    )
    dtypes = Recipe(
        storage_dtype=recipe.storage_dtype,
        wire_dtype=recipe.wire_dtype,
        compute_dtype=recipe.plain_dtype if recipe.storage_dtype.is_integer else Dtype.FP16,
    )
    return _shared_grid(model, plain, dtypes, residents, slots)


@lru_cache(maxsize=64)
def _shared_grid(
    model: Model, plan: Plan, recipe: Recipe, residents: tuple[int, ...], slots: tuple[int, ...]
) -> Bytes:
    rows = [
        [
            _placed(
                placed_items(model, replace(plan, resident_blocks=r, num_slots=s), recipe),
                plan.devices,
            )
            for s in slots
        ]
        for r in residents
    ]
    return np.array(rows, dtype=np.int64).reshape(len(residents), len(slots), -1)


def _placed(items: Sequence[Item], devices: int) -> Bytes:
    """Every device with the allocator's slack, host, NVMe."""
    elsewhere = [
        sum(i.num_bytes for i in items if i.place is place)
        for place in (MemoryPlace.HOST, MemoryPlace.NVME)
    ]
    own = [segments_bytes(items, device) for device in range(devices)]
    return np.array([*own, *elsewhere], dtype=np.int64)


def _totals(whole: MemoryAccount) -> Bytes:
    return np.array([*whole.by_device, whole.host_bytes, whole.nvme_bytes], dtype=np.int64)


def _split(grid: Bytes) -> Rooms:
    """The fullest device decides."""
    return Rooms(device=grid[..., :-2].max(axis=-1), host=grid[..., -2], nvme=grid[..., -1])
