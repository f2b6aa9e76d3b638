"""The static memory account of a run: device, host, NVMe and disk, item by item (DESIGN 9).

    account(model, plan, recipe) -> MemoryAccount

`zo2_reference`, and `resident` with in_place perturbation, are the published ZO2 and MeZO codes
(`zo2sim.memory.published.accounts`); everything else is this project's runtime, which allocates
once, before the first step.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from zo2sim.dtypes import Dtype
from zo2sim.memory.account import (
    CACHED,
    CONTEXT,
    SHARD_BYTES,
    Item,
    MemoryAccount,
    MemoryPlace,
    load_constants,
)
from zo2sim.memory.pinned import host_bytes, whole_pages
from zo2sim.memory.published.accounts import context_item, mezo_account, zo2_reference_account
from zo2sim.memory.published.allocator import LARGE_GRAIN_BYTES, round_up
from zo2sim.memory.workspace import workspace_items
from zo2sim.models.shapes import Model, Unit, aligned
from zo2sim.plan.choices import Pinning, Plan, Recipe, published_code
from zo2sim.policies import Layout, Shape
from zo2sim.schedule.ops import HEAD, TAIL

CUBLAS_WORKSPACE_BYTES = 32 << 20
"""PyTorch's default on compute capability 9.0, `:4096:8` KiB; smaller cards use 8 MiB."""
NOISE_TABLE_BYTES = 65536 * 4
"""Quantiles of the gaussian noise, fp32 (DESIGN 5)."""
JOURNAL_RECORD_BYTES = 64
"""Key, coefficient and bookkeeping of one sample's record on the device, padded."""
JOURNAL_BUFFER_BYTES = 1 << 20
"""Lines that wait for an fsync; a record has well under 1 KiB."""
AT_A_SNAPSHOT = "at a snapshot or save"
"""The item that a run needs beside what it trains with, whenever its weights are written."""
TRAINED_BESIDE = {True: "trained scales", False: "LoRA adapters"}
"""What trains beside frozen blocks, by whether it is their scales."""
ARENA = ("resident units", "resident blocks", *TRAINED_BESIDE.values(), "slots", "scratch")
"""Items that the runtime allocates as device buffers of its own."""
AROUND_A_RUN = (CONTEXT, CACHED, "cuBLAS workspace", "process")
"""Items that libraries and their allocators take, and that a device of host memory lacks."""


def account(
    model: Model, plan: Plan, recipe: Recipe, *, context_bytes: int | None = None
) -> MemoryAccount:
    """What a run needs at its peak; ``context_bytes`` of the machine, or the fitted constant.

    Says nothing about room: `fits` and `require` compare the account with a machine.
    """
    code = published_code(plan, recipe)
    if code == "zo2":
        return zo2_reference_account(
            model, recipe, pinning=plan.pinning, context_bytes=context_bytes
        )
    if code == "mezo":
        return mezo_account(model, recipe, context_bytes=context_bytes)
    context = context_item(context_bytes)
    on_devices = (
        replace(item, device=device)
        for device in range(plan.devices)
        for item in (*_on_device(model, plan, recipe, device), context)
    )
    return MemoryAccount(
        title=f"{model.name} with policy={plan.policy}",
        items=(
            *on_devices,
            *_host_items(model, plan, recipe),
            *_nvme_items(model, plan, recipe),
            _item(
                MemoryPlace.DISK,
                "base snapshot",
                _written_bytes(model, recipe),
                "immutable start of the journal",
            ),
        ),
    )


def _on_device(model: Model, plan: Plan, recipe: Recipe, device: int) -> tuple[Item, ...]:
    layout = _layout(model, plan, recipe)
    own, lanes = layout.on(device), layout.num_lanes_on(device)
    items = (
        *_weights(model, plan, recipe, device),
        *workspace_items(model, recipe, lanes=lanes, tail=TAIL in own),
        *_small(model, plan, recipe, tokens=TAIL in own),
    )
    return (*items, _rounding(items))


def _layout(model: Model, plan: Plan, recipe: Recipe) -> Layout:
    return Layout(shape=Shape.of(model), plan=plan, recipe=recipe)


def placed_items(model: Model, plan: Plan, recipe: Recipe) -> tuple[Item, ...]:
    """What depends on which blocks are resident and on the number of slots; all else does not.

    Of this project's runtime; published code is not accounted for in these items.
    """
    return (
        *(
            replace(item, device=device)
            for device in range(plan.devices)
            for item in _block_items(model, plan, recipe, device)
        ),
        *_streaming_items(model, plan, recipe),
        *_nvme_items(model, plan, recipe),
    )


def segments_bytes(items: Iterable[Item], device: int) -> int:
    """What items on a device take with the allocator's slack: each has segments of its own."""
    own = (i for i in items if i.place is MemoryPlace.DEVICE and i.device == device)
    return sum(round_up(i.num_bytes, LARGE_GRAIN_BYTES) for i in own)


def slot_bytes(model: Model, plan: Plan, recipe: Recipe) -> int:
    """One slot: the largest streamed unit in the dtype that it has on the device."""
    return max(_slot_bytes(model, plan, recipe, device) for device in range(plan.devices))


def _slot_bytes(model: Model, plan: Plan, recipe: Recipe, device: int) -> int:
    sizes = _block_bytes(model, plan, recipe, recipe.wire_dtype, device, streamed=True)
    return max(sizes, default=0)


def _block_bytes(
    model: Model, plan: Plan, recipe: Recipe, dtype: Dtype, device: int, *, streamed: bool
) -> tuple[int, ...]:
    """Sizes of the units of a device that pass through slots, or of those that stay."""
    layout = _layout(model, plan, recipe)
    sizes, own = _sizes(model, dtype, recipe.plain_dtype), frozenset(layout.on(device))
    blocks = layout.streamed if streamed else layout.resident
    return tuple(sizes[block] for block in blocks if block in own)


@lru_cache(maxsize=256)
def _sizes(model: Model, dtype: Dtype, rest: Dtype | None = None) -> tuple[int, ...]:
    """The buffer of every block; equal blocks are added up once."""
    first = {b: model.blocks[b].buffer_bytes(dtype, rest) for b in set(model.first_alike)}
    return tuple(first[b] for b in model.first_alike)


def _num_slots(model: Model, plan: Plan, recipe: Recipe, device: int) -> int:
    """No more than there are blocks to stream through them."""
    layout = _layout(model, plan, recipe)
    own = frozenset(layout.on(device))
    return min(layout.num_slots, sum(block in own for block in layout.streamed))


def _weights(model: Model, plan: Plan, recipe: Recipe, device: int) -> tuple[Item, ...]:
    dtype, own = recipe.plain_dtype, _layout(model, plan, recipe).on(device)
    ends = sum(_unit(model, unit).buffer_bytes(dtype) for unit in (HEAD, TAIL) if unit in own)
    resident, slots = _block_items(model, plan, recipe, device)
    return (
        _device("resident units", ends, "head and tail, in the storage dtype"),
        resident,
        _device(
            TRAINED_BESIDE[recipe.trains_scales],
            _beside(model, recipe, own),
            "trained, so they stay",
        ),
        slots,
        _scratch(model, plan, recipe, own),
        _noise_temporaries(model, recipe),
    )


def _unit(model: Model, unit: int) -> Unit:
    """Equal blocks have their first one's parameters."""
    if unit < 0:
        return model.head if unit == HEAD else model.tail
    return model.blocks[unit]


def _block_items(model: Model, plan: Plan, recipe: Recipe, device: int) -> tuple[Item, Item]:
    staying = _block_bytes(model, plan, recipe, recipe.storage_dtype, device, streamed=False)
    slots = _num_slots(model, plan, recipe, device)
    slot = _slot_bytes(model, plan, recipe, device)
    return (
        _device("resident blocks", sum(staying), f"{len(staying)} units that never move"),
        _device("slots", slots * slot, f"{slots} x the largest streamed unit"),
    )


def _beside_bytes(model: Model, recipe: Recipe, dtype: Dtype) -> tuple[int, ...]:
    """What trains beside each frozen block; equal blocks are added up once."""
    if not recipe.frozen_blocks:
        return ()
    about = (recipe.lora_rank, recipe.storage_dtype, dtype)
    first = {b: model.blocks[b].beside_bytes(*about) for b in set(model.first_alike)}
    return tuple(first[b] for b in model.first_alike)


def _beside(model: Model, recipe: Recipe, own: tuple[int, ...]) -> int:
    """The same for those blocks of a device."""
    sizes = _beside_bytes(model, recipe, recipe.plain_dtype)
    return sum(size for block, size in enumerate(sizes) if block in own)


def _scratch(model: Model, plan: Plan, recipe: Recipe, own: tuple[int, ...]) -> Item:
    compute = recipe.compute_dtype
    if recipe.perturbation == "in_place":
        shared = _shared_bytes(model, compute)
        return _device("scratch", shared, "what the tail shares with the head, if anything")
    if not recipe.frozen_blocks:
        nbytes = _largest_read(model, compute, own)
        return _device(
            "scratch",
            plan.scratch_copies * nbytes,
            f"{plan.scratch_copies} x the largest perturbed unit",
        )
    beside, what = max(_beside_bytes(model, recipe, compute)), "adapters"
    if recipe.trains_scales:
        what = "scales"
    nbytes = plan.scratch_copies * beside + _decoded_bytes(model, recipe, own)
    return _device("scratch", nbytes, f"{what}, and decoded frozen weights")


def _decoded_bytes(model: Model, recipe: Recipe, own: tuple[int, ...]) -> int:
    """The largest unit that is frozen and not in the compute dtype, once it is."""
    storage, compute = recipe.storage_dtype, recipe.compute_dtype
    if storage is compute:
        return 0
    if not storage.is_integer:
        return _largest_read(model, compute, own)
    kinds = (model.blocks[b] for b in set(model.first_alike))
    return max(kind.decoded(storage).buffer_bytes(compute) for kind in kinds)


@lru_cache(maxsize=256)
def _largest_read(model: Model, dtype: Dtype, own: tuple[int, ...]) -> int:
    """The most that a unit's lanes read at once: its own, and what it borrows."""
    kinds = {unit if unit < 0 else model.first_alike[unit] for unit in own}
    return max((_unit(model, unit).read_bytes(dtype) for unit in kinds), default=0)


def _shared_bytes(model: Model, dtype: Dtype) -> int:
    """The embedding where the tail reads it too, as one tensor of a buffer."""
    return aligned(model.shared_elements * dtype.bytes)


def _noise_temporaries(model: Model, recipe: Recipe) -> Item:
    """`torch` noise is drawn as a tensor: z and two products of a parameter's size are alive."""
    nbytes = 0
    if recipe.noise == "torch":
        units = (model.head, *model.blocks, model.tail)
        largest = max(p.elements for unit in units for p in unit.parameters)
        nbytes = 3 * largest * recipe.plain_dtype.bytes
    return _device("noise temporaries", nbytes, "z and two products, of the largest parameter")


def _small(model: Model, plan: Plan, recipe: Recipe, *, tokens: bool) -> tuple[Item, ...]:
    records = plan.write_back_every * recipe.samples * JOURNAL_RECORD_BYTES
    table = NOISE_TABLE_BYTES if recipe.noise == "gaussian" else 0
    return (
        _device("buffers", model.buffer_elements * 4, "rotary tables and the like, fp32"),
        _device("tokens and labels", tokens * recipe.tokens_per_step * 16, "two int64 per token"),
        _device("journal records", records, "pending keys and coefficients"),
        _device("noise table", table, "quantiles of the gaussian"),
        _device("cuBLAS workspace", CUBLAS_WORKSPACE_BYTES, "one stream computes"),
    )


def _rounding(items: Iterable[Item]) -> Item:
    """Segments are multiples of 2 MiB, one per item."""
    slack = sum(round_up(i.num_bytes, LARGE_GRAIN_BYTES) - i.num_bytes for i in items)
    return _device(CACHED, slack, "segments of the caching allocator are multiples of 2 MiB")


def _host_items(model: Model, plan: Plan, recipe: Recipe) -> tuple[Item, ...]:
    return (
        *_streaming_items(model, plan, recipe),
        _host("journal buffer", JOURNAL_BUFFER_BYTES, "records before their fsync"),
        _at_a_snapshot(model, recipe),
        _host("process", load_constants().process_bytes, "Python, PyTorch and CUDA libraries"),
    )


def read_back(written_bytes: int, largest_bytes: int) -> Item:
    """What a run takes whenever its weights are written, of which one tensor has the most bytes.

    Loading, saving and closing need less: they read and write the weights where they lie.
    """
    num_bytes = min(written_bytes, max(SHARD_BYTES, largest_bytes))
    return _host(AT_A_SNAPSHOT, num_bytes, "a file at a time is read back")


def _at_a_snapshot(model: Model, recipe: Recipe) -> Item:
    written_bytes = _written_bytes(model, recipe)
    if recipe.storage_dtype.is_integer:
        return read_back(written_bytes, 0)
    units = (model.head, *(model.blocks[b] for b in sorted(set(model.first_alike))), model.tail)
    largest = max(p.elements for unit in units for p in unit.parameters)
    return read_back(written_bytes, largest * recipe.storage_dtype.bytes)


def _written_bytes(model: Model, recipe: Recipe) -> int:
    """A snapshot: every weight; beside an integer base, which nothing changes, what trains."""
    if not recipe.storage_dtype.is_integer:
        return model.elements * recipe.storage_dtype.bytes
    about = (recipe.lora_rank, recipe.storage_dtype)
    first = {b: sum(model.blocks[b].beside(*about)) for b in set(model.first_alike)}
    return sum(first[b] for b in model.first_alike) * recipe.plain_dtype.bytes


def _streaming_items(model: Model, plan: Plan, recipe: Recipe) -> tuple[Item, ...]:
    """Blocks have one home, whoever uploads them; what is staged for all devices is staged once."""
    staging = range(plan.devices if plan.placement == "ring" else 1)
    slots = sum(_num_slots(model, plan, recipe, device) for device in staging)
    stage = whole_pages(slot_bytes(model, plan, recipe))
    nvme = plan.tier == "nvme"
    weights = 0 if nvme else streamed_bytes(model, plan, recipe, plan.pinning)
    return (
        _host(f"streamed blocks, {plan.pinning}", weights, "the master weights"),
        _host("wire staging", slots * stage if recipe.recoded else 0, f"{slots} encoded units"),
        _host("NVMe staging", 2 * slots * stage if nvme else 0, f"{slots} units in, {slots} out"),
    )


def streamed_bytes(model: Model, plan: Plan, recipe: Recipe, pinning: Pinning) -> int:
    """Host memory of the streamed units, by how it is pinned."""
    layout = _layout(model, plan, recipe)
    sizes = _host_sizes(model, recipe.storage_dtype, recipe.plain_dtype, pinning)
    return sum(sizes[block] for block in layout.streamed)


@lru_cache(maxsize=256)
def _host_sizes(model: Model, dtype: Dtype, rest: Dtype, pinning: Pinning) -> tuple[int, ...]:
    """Host memory of every block; equal blocks are added up once."""
    first = {b: _on_host(model.blocks[b], dtype, rest, pinning) for b in set(model.first_alike)}
    return tuple(first[b] for b in model.first_alike)


def _on_host(block: Unit, dtype: Dtype, rest: Dtype, pinning: Pinning) -> int:
    """One buffer, or an allocation per tensor where PyTorch pins."""
    if pinning != "rounded":
        return host_bytes([block.buffer_bytes(dtype, rest)], pinning)
    sizes = (p.format(dtype, rest).num_bytes(p.shape) for p in block.parameters)
    return host_bytes(sizes, pinning)


def _nvme_items(model: Model, plan: Plan, recipe: Recipe) -> tuple[Item, ...]:
    if plan.tier != "nvme":
        return ()
    blocks = sum(_block_bytes(model, plan, recipe, recipe.storage_dtype, 0, streamed=True))
    return (_item(MemoryPlace.NVME, "streamed blocks", 2 * blocks, "two versions of each block"),)


def _item(place: MemoryPlace, name: str, num_bytes: int, cause: str) -> Item:
    return Item(place=place, name=name, num_bytes=num_bytes, cause=cause)


def _device(name: str, num_bytes: int, cause: str) -> Item:
    return _item(MemoryPlace.DEVICE, name, num_bytes, cause)


def _host(name: str, num_bytes: int, cause: str) -> Item:
    return _item(MemoryPlace.HOST, name, num_bytes, cause)
