"""Activations of this project's runtime: hidden states of every lane, workspace of one."""

from zo2sim.dtypes import Dtype
from zo2sim.memory.account import Item, MemoryPlace
from zo2sim.models.shapes import Gemm, Model, Unit
from zo2sim.plan.choices import Recipe

LOSS_BYTES_PER_LOGIT = 8
"""The loss takes a copy of the logits in fp32, and their log-softmax in fp32."""
FP32_LOSS_BYTES_PER_LOGIT = 4
"""Logits that are fp32 already are not copied."""


_PER_SCORE = 4
_ROUTED = 20
"""Half-precision elements of a row's indices and weights: two orders, an expert, a share."""


def workspace_items(model: Model, recipe: Recipe, *, lanes: int, tail: bool) -> tuple[Item, ...]:
    """Lanes run in lockstep, one at a time within a unit: all hidden states, one workspace.

    Of a device that ``lanes`` come to. The tail's workspace follows that of the blocks, so the
    larger one counts where the device has a ``tail``.
    """
    lane_tokens = recipe.batch * recipe.sequence
    size = recipe.compute_dtype.bytes
    hidden = lanes * lane_tokens * model.hidden * size
    kinds = (model.blocks[number] for number in set(model.first_alike))
    block = max(
        block_workspace_elements(kind, model.hidden) + _score_elements(kind, recipe.sequence)
        for kind in kinds
    )
    block_bytes = lane_tokens * block * size
    fp32 = recipe.compute_dtype is Dtype.FP32
    loss_bytes = FP32_LOSS_BYTES_PER_LOGIT if fp32 else LOSS_BYTES_PER_LOGIT
    tail_bytes = lane_tokens * (model.vocab * (size + loss_bytes) + model.hidden * size)
    place = "the tail: logits, in fp32 too, and their log-softmax"
    if block_bytes > tail_bytes or not tail:
        place = "a block: attention or MLP, without a score matrix"
    return (
        _device("hidden states", hidden, f"{lanes} lanes between two units"),
        _device("workspace of one lane", max(block_bytes, tail_bytes * tail), place),
    )


def block_workspace_elements(unit: Unit, hidden: int) -> int:
    """Elements per token alive at once in one lane's pass through a block, input apart.

    Attention: the norm's output, queries, keys, values and the result, with a fused kernel that
    stores no scores. MLP: residual, norm's output, the wide activations with the result of the
    activation function (a gated MLP has two), and the block's output.
    """
    beside_scores = (a.both_dims * (a.heads + a.kv_heads) + hidden for a in unit.attentions)
    attention = max(beside_scores, default=0)
    experts = next((gemm for gemm in unit.gemms if gemm.count > 1), None)
    if experts is not None:
        return max(attention, _mixture_elements(experts, hidden))
    width, inputs = mlp_shape(unit, hidden)
    return max(attention, 3 * hidden + (inputs + 1) * width)


def _score_elements(unit: Unit, sequence: int) -> int:
    """Scores per token where they are stored: half precision, softmax in fp32, and cast back."""
    keys = (a.heads * a.num_keys(sequence) for a in unit.attentions if not a.fused)
    return _PER_SCORE * max(keys, default=0)


def _mixture_elements(into: Gemm, hidden: int) -> int:
    """The same for experts; ``into`` is the product that leads into them, gate and input in one.

    A token has a row for every expert that it goes to. A row is gathered, becomes both halves of
    the product, the gate's activation and their product; or, where experts are narrow, what comes
    out is weighted in fp32 and put back in order. Within 12 % of what transformers 5 allocates in
    half precision, for 12 shapes and numbers of experts (Mixtral's block with grouped products).
    """
    chosen = round(into.count * into.rows_per_token)
    width = into.n // 2
    inside = chosen * (4 * width + hidden + _ROUTED)
    after = chosen * (6 * hidden + _ROUTED) + hidden
    return 3 * hidden + into.count + max(inside, after)


def mlp_shape(unit: Unit, hidden: int) -> tuple[int, int]:
    """Width of the block's MLP, and how many products lead into it: two where it is gated."""
    into_mlp = [out for out, inp in unit.linear_shapes if inp == hidden and out > hidden]
    width = max(into_mlp, default=4 * hidden)
    return width, min(2, into_mlp.count(width))


def _device(name: str, num_bytes: int, cause: str) -> Item:
    return Item(place=MemoryPlace.DEVICE, name=name, num_bytes=num_bytes, cause=cause)
