"""The memory account of a baseline: the same places as its schedule, item by item.

What one block's backward pass holds is counted as in arXiv:2205.05198, section 4.1: 34 bytes per
token and hidden element for GPT in 16 bits, and with eager attention 5 per score.
"""

from collections.abc import Iterator

from zo2sim.baselines.layout import RING
from zo2sim.baselines.training import Training
from zo2sim.memory.account import Item, MemoryAccount, MemoryPlace, load_constants
from zo2sim.memory.published.accounts import context_item
from zo2sim.memory.runtime import CUBLAS_WORKSPACE_BYTES
from zo2sim.memory.workspace import LOSS_BYTES_PER_LOGIT, block_workspace_elements, mlp_shape
from zo2sim.models.shapes import Model, Unit

STATE_BYTES = 12
"""fp32 master weights and two moments."""
SUM_BYTES = 4
"""A gradient on its way to the optimizer, in fp32."""
EAGER_BYTES_PER_SCORE = 5
"""Softmax and dropout in 16 bits, and the dropout's mask."""


def account(
    model: Model,
    training: Training,
    *,
    context_bytes: int | None = None,
    num_devices: int = 1,
) -> MemoryAccount:
    """What a baseline needs at its peak; device figures are those of one of ``num_devices``.

    The devices share weights, gradients and states (ZeRO) and have a microbatch each, so that
    checkpoints on the host are there once per device.
    """
    sizes = _Sizes(model, training)
    return MemoryAccount(
        title=f"{model.name} by method={training.method}",
        items=(
            *_items(MemoryPlace.DEVICE, _on_device(sizes)),
            context_item(context_bytes),
            *_items(MemoryPlace.HOST, _on_host(sizes, num_devices)),
            *_items(MemoryPlace.NVME, _on_nvme(sizes)),
        ),
    )


Named = tuple[str, int, str]


def _items(place: MemoryPlace, named: Iterator[Named]) -> tuple[Item, ...]:
    return tuple(Item(place=place, name=n, num_bytes=b, cause=c) for n, b, c in named)


class _Sizes:
    """Elements and bytes that several items need."""

    def __init__(self, model: Model, training: Training) -> None:
        self.model, self.training, self.homes = model, training, training.homes
        self.tokens = training.batch * training.sequence
        self.size = training.dtype.bytes
        self.slots = min(training.num_slots, model.num_blocks)
        self.all = model.elements
        self.ends = model.head.elements + model.tail.elements
        self.granule = max(map(self._moved, model.blocks))
        self.largest_unit = max(u.elements for u in (model.head, *model.blocks, model.tail))

    def _moved(self, block: Unit) -> int:
        """Elements that pass through a buffer at once."""
        if self.homes.moves == "block":
            return block.elements
        return max(p.elements for p in block.parameters)

    @property
    def checkpoint_bytes(self) -> int:
        """Input of one block, of one microbatch."""
        return self.tokens * self.model.hidden * self.size

    @property
    def saved_bytes(self) -> int:
        """What the largest block's backward pass needs of its forward pass."""
        return max(self._saved(block) for block in self.model.blocks)

    def _saved(self, block: Unit) -> int:
        width, inputs = mlp_shape(block, self.model.hidden)
        elements, scores, masks = 4 * self.model.hidden + 2 * inputs * width, 0, 0
        for a in block.attentions:
            elements += 2 * a.head_dim * (a.heads + a.kv_heads)
            scores = a.heads * self.training.sequence * EAGER_BYTES_PER_SCORE
        if inputs == 1:
            masks = 2 * self.model.hidden  # of two dropouts, a byte each; gated models have none
        eager = scores if self.training.attention == "eager" else 0
        return self.tokens * (elements * self.size + masks + eager)

    @property
    def workspace_bytes(self) -> int:
        """The backward pass of a block, or of the tail with its logits: the larger one."""
        block = max(block_workspace_elements(b, self.model.hidden) for b in self.model.blocks)
        again = self.saved_bytes if self.training.checkpointing else 0
        logits = self.model.vocab * (self.size + LOSS_BYTES_PER_LOGIT)
        tail = self.tokens * (logits + 2 * self.model.hidden * self.size)
        return max(self.tokens * block * self.size + again, tail)


def _on_device(s: _Sizes) -> Iterator[Named]:
    homes, size = s.homes, s.size
    if homes.weights == "device":
        yield "weights", s.all * size, "the whole model"
    else:
        yield "resident weights", s.ends * size, "head and tail"
        yield "slots", s.slots * s.granule * size, f"{s.slots} x the largest {homes.moves}"
    yield from _device_gradients(s)
    if homes.states == "device":
        yield "optimizer states", s.all * STATE_BYTES, "moments, and master weights"
    yield from _device_activations(s)
    yield "workspace", s.workspace_bytes, "backward pass of a block, or the logits and their loss"
    yield "tokens and labels", s.tokens * 16, "two int64 per token"
    yield "cuBLAS workspace", CUBLAS_WORKSPACE_BYTES, "one stream computes"


def _device_gradients(s: _Sizes) -> Iterator[Named]:
    homes = s.homes
    if homes.gradients != "device":
        ring = (s.ends + RING * s.granule) * s.size
        yield "gradients", ring, f"head and tail, and {RING} x the largest {homes.moves}"
    else:
        yield "gradients", s.all * s.size, "one per weight"


def _device_activations(s: _Sizes) -> Iterator[Named]:
    blocks = s.model.num_blocks
    if s.homes.checkpoints == "host":
        yield "checkpoints", RING * s.checkpoint_bytes, f"{RING} block inputs in transit"
    elif s.training.checkpointing:
        yield "checkpoints", blocks * s.checkpoint_bytes, "the input of every block"
    else:
        yield "activations", blocks * s.saved_bytes, "of every block, until its backward pass"


def _on_host(s: _Sizes, num_devices: int) -> Iterator[Named]:
    homes = s.homes
    if homes.states == "host":
        yield "optimizer states", s.all * STATE_BYTES, "fp32 master weights and moments"
        yield "gradients", s.all * SUM_BYTES, "summed in fp32"
        yield "weights", s.all * s.size, "on their way to the device"
    if homes.states == "nvme":
        per_element = STATE_BYTES + SUM_BYTES + s.size
        staged = homes.state_buffers * s.largest_unit * per_element
        yield "state staging", staged, f"{homes.state_buffers} units' states at once"
        yield "weight staging", s.slots * s.granule * s.size, "NVMe to device"
        whole = s.training.microbatches > 1
        held = s.all if whole else s.ends + RING * s.granule
        yield "gradients", held * SUM_BYTES, "summed" if whole else "used up as they come"
    if homes.checkpoints == "host":
        kept = num_devices * s.model.num_blocks * s.checkpoint_bytes
        yield "checkpoints", kept, f"the input of every block, of {num_devices} microbatches"
    yield "process", load_constants().process_bytes, "Python, PyTorch and CUDA libraries"


def _on_nvme(s: _Sizes) -> Iterator[Named]:
    if s.homes.weights == "nvme":
        yield "weights", (s.all - s.ends) * s.size, "every block"
    if s.homes.states == "nvme":
        yield "optimizer states", s.all * STATE_BYTES, "fp32 master weights and moments"
    if s.homes.gradients == "nvme":
        yield "gradients", s.all * SUM_BYTES, "in fp32"
