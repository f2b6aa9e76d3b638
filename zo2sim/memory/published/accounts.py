"""Memory accounts of code that others published: ZO2, MeZO, and AdamW in PyTorch."""

from zo2sim.memory.account import CACHED, CONTEXT, Item, MemoryAccount, MemoryPlace, load_constants
from zo2sim.memory.pinned import host_bytes
from zo2sim.memory.published.allocations import AllocatorRun
from zo2sim.memory.published.steps import trace_mezo, trace_zo2
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Pinning, Recipe

ZO2_SOURCE = "liangyuwang/zo2, zo2/optimizer/mezo_sgd/zo2.py"
MEZO_SOURCE = "liangyuwang/zo2, zo2/optimizer/mezo_sgd/zo.py"


def zo2_reference_account(
    model: Model,
    recipe: Recipe,
    *,
    pinning: Pinning = "rounded",
    context_bytes: int | None = None,
) -> MemoryAccount:
    """The published ZO2 code: what is alive at its peak, and what NVML sees.

    Blocks come back through PyTorch's pinned allocator, tensor by tensor: powers of two.
    """
    run, reserved_bytes = trace_zo2(model, recipe)
    storage = recipe.storage_dtype.bytes
    pinned = sum(
        host_bytes([p.elements * storage for p in b.parameters], pinning) for b in model.blocks
    )
    return MemoryAccount(
        title=f"{model.name} by the published ZO2 code",
        items=(
            *_device_items(run, reserved_bytes, ZO2_SOURCE, context_bytes),
            _host(
                f"streamed blocks, {pinning}", pinned, "`.to('cpu', non_blocking=True)` per tensor"
            ),
            _process(),
        ),
    )


def mezo_account(
    model: Model, recipe: Recipe, *, context_bytes: int | None = None
) -> MemoryAccount:
    """The published MeZO code with everything on the device."""
    run, reserved_bytes = trace_mezo(model, recipe)
    return MemoryAccount(
        title=f"{model.name} by the published MeZO code",
        items=(*_device_items(run, reserved_bytes, MEZO_SOURCE, context_bytes), _process()),
    )


def adamw_account(
    model: Model, recipe: Recipe, *, context_bytes: int | None = None
) -> MemoryAccount:
    """First-order fine-tuning with `torch.optim.AdamW`, everything on the device.

    The peak is the optimizer step of PyTorch's default multi-tensor implementation, when the
    activations are gone and the square roots of all second moments are alive at once. Long
    sequences can peak in the backward pass instead, so the figure is a lower bound there.
    """
    weights = model.elements * recipe.storage_dtype.bytes
    parts = {
        "weights": "the model",
        "gradients": "one per weight, in its dtype",
        "first moments": "AdamW, in the dtype of the weights",
        "second moments": "AdamW, in the dtype of the weights",
        "square roots of second moments": "one temporary per weight in the multi-tensor step",
    }
    items = [
        Item(place=MemoryPlace.DEVICE, name=n, num_bytes=weights, cause=c) for n, c in parts.items()
    ]
    return MemoryAccount(
        title=f"{model.name} by AdamW", items=(*items, context_item(context_bytes), _process())
    )


def context_item(context_bytes: int | None) -> Item:
    """The context as given, or the fitted constant."""
    known = load_constants().context_bytes if context_bytes is None else context_bytes
    cause = "driver, kernels and libraries, outside PyTorch's allocator"
    return Item(place=MemoryPlace.DEVICE, name=CONTEXT, num_bytes=known, cause=cause)


def _device_items(
    run: AllocatorRun, reserved_bytes: int, source: str, context_bytes: int | None
) -> tuple[Item, ...]:
    alive = [
        Item(
            place=MemoryPlace.DEVICE,
            name=name,
            num_bytes=nbytes,
            cause=f"alive at the peak: {source}",
        )
        for name, nbytes in run.memory.peak_items.items()
    ]
    slack = reserved_bytes - run.memory.peak_bytes
    cause = "segments of the caching allocator, per stream, that the peak leaves free"
    cached = Item(place=MemoryPlace.DEVICE, name=CACHED, num_bytes=slack, cause=cause)
    return (*alive, cached, context_item(context_bytes))


def _host(name: str, num_bytes: int, cause: str) -> Item:
    return Item(place=MemoryPlace.HOST, name=name, num_bytes=num_bytes, cause=cause)


def _process() -> Item:
    return _host("process", load_constants().process_bytes, "Python, PyTorch and CUDA libraries")
