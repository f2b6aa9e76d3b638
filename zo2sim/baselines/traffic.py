"""Bytes that training moves in a block beside its matrix products, operation by operation.

[Note: counting rule] An operation reads its operands and writes its results once, 2 bytes per
element; a dropout's mask takes 1. Weights, and masks that every sequence shares, are left out.
What a matrix product reads and writes is priced with the product. The block is the one whose
memory `zo2sim.baselines.memory` counts: its activation function is one kernel, and models
without a gated MLP have dropouts. Three programs run it:

- ``FUSED``: attention is one kernel that reads strided heads, linear layers add their bias.
- ``EAGER``: GPT-2 as in Megatron-LM of 2020 (microsoft/DeepSpeedExamples, Megatron-LM/mpu at
  1e1d914): a kernel for each bias, for gathering the heads, and for each step of attention.
- ``TRANSFORMERS``: GPT-2 as in Hugging Face transformers of 2022: linear layers add their bias,
  the tanh form of GELU is spelled out in eight kernels, and so is attention, in half precision.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from zo2sim.memory.workspace import mlp_shape
from zo2sim.models.shapes import Unit

BUCKETED_GRADIENT = {"copied into a bucket": 4, "divided by the number of devices": 4}
SUMMED_GRADIENT = {"added to the sum that came back from the host": 6}
SENT_GRADIENT = {"norm, in fp64": 18, "search for infinities, in fp32": 10, "cast to fp32": 6}
"""Bytes per parameter that ZeRO-Offload moves on the device when a gradient is there: of every
microbatch, of every one but the first, and of the last (DeepSpeed, runtime/zero/stage2.py at
00c3a25). fp64 and fp32 copies are written, then read."""


class Code(StrEnum):
    """Which kernels a program launches for a block."""

    FUSED = "fused"
    EAGER = "eager"
    TRANSFORMERS = "transformers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Bytes per element of one operation in the forward and in the backward pass."""

    name: str
    elements: int
    forward: int
    backward: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What a block moves per token, by operation."""

    operations: tuple[Moved, ...]

    @property
    def forward_bytes(self) -> int:
        """Per token of one forward pass."""
        return sum(o.elements * o.forward for o in self.operations)

    @property
    def backward_bytes(self) -> int:
        """Per token of one backward pass, recomputation apart."""
        return sum(o.elements * o.backward for o in self.operations)


def traffic(block: Unit, *, hidden: int, sequence: int, code: Code) -> Traffic:
    """What a block with dense layers moves per token of a sequence, by operation."""
    operations = (*_common(block, hidden), *_attention(block, sequence, code))
    if code is Code.TRANSFORMERS:
        operations = (*operations, *_spelled_out(block, hidden))
    if code is Code.EAGER:
        operations = (*operations, _moved("add biases", biased_outputs(block), 4, 0))
    return Traffic(operations=operations)


def has_dense_layers(block: Unit) -> bool:
    """No router sends tokens to some of several experts: what `traffic` can count."""
    return all(gemm.rows_per_token == 1 for gemm in block.gemms)


def biased_outputs(block: Unit) -> int:
    """Outputs per token of the linear layers that have a bias."""
    biases = {p.name for p in block.parameters if p.name.endswith(".bias")}
    weights = (p for p in block.parameters if len(p.shape) == 2)
    with_bias = (p.name.removesuffix("weight") + "bias" for p in weights)
    lengths = {p.name: p.elements for p in block.parameters}
    return sum(lengths[name] for name in with_bias if name in biases)


def _moved(name: str, elements: int, forward: int, backward: int) -> Moved:
    return Moved(name=name, elements=elements, forward=forward, backward=backward)


def _common(block: Unit, hidden: int) -> Iterator[Moved]:
    """What every program runs.

    Backward of a norm reads gradient and input twice, once for the weights' sake; at a branch the
    gradients of both ways are summed; a bias's gradient reads that of its output; the gradients
    of queries, keys and values are joined, or three gradients of one input are summed.
    """
    width, inputs = mlp_shape(block, hidden)
    yield _moved("two norms", 2 * hidden, 4, 10)
    yield _moved("two residual additions", 2 * hidden, 6, 6)
    yield _moved("gradients of biases", biased_outputs(block), 0, 2)
    yield _moved("joined gradients", hidden, 0, 12)
    if inputs == 1:
        yield _moved("activation function", width, 4, 6)
        yield _moved("two dropouts", 2 * hidden, 5, 5)
    else:
        yield _moved("gated activation function", width, 6, 10)
        yield _moved("gradients of the gate's input", hidden, 0, 6)
        for a in block.attentions:
            yield _moved("rotation of queries and keys", (a.heads + a.kv_heads) * a.head_dim, 4, 4)


def _attention(block: Unit, sequence: int, code: Code) -> Iterator[Moved]:
    """What is done to scores between the two products, and to heads before and after them.

    Scores are computed whole. Gradients are gathered likewise; that of the keys, which enter
    their product transposed, is a view.
    """
    for a in block.attentions if code is not Code.FUSED else ():
        scores = a.heads * sequence
        yield _moved("gather queries and values", (a.heads + a.kv_heads) * a.head_dim, 4, 4)
        yield _moved("gather keys", a.kv_heads * a.head_dim, 4, 0)
        yield _moved("gather the result", a.heads * a.head_dim, 4, 4)
        yield _moved("scale scores", scores, 4, 4)
        yield _moved("mask scores", scores, 4, 4)
        if code is Code.EAGER:
            yield _moved("subtract from masked scores", scores, 4, 0)
        yield _moved("softmax", scores, 4, 6)
        if mlp_shape(block, a.heads * a.head_dim)[1] == 1:
            yield _moved("dropout of scores", scores, 5, 5)


def _spelled_out(block: Unit, hidden: int) -> Iterator[Moved]:
    """The tanh form of GELU in eight kernels, beyond the one that is counted already.

    Forward: four scalings, a power, a tanh and a sum with a constant or an operand: 18 elements.
    Backward: 28, the sums of the input's three gradients among them.
    """
    width, inputs = mlp_shape(block, hidden)
    if inputs == 1:
        yield _moved("GELU in eight kernels", width, 2 * 18 - 4, 2 * 28 - 6)
