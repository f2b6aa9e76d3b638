"""GaLore's optimizer states (arXiv:2403.03507, section 4): moments of projected gradients.

A matrix of m x n with m <= n keeps an m x r projection and two moments of r x n. In 8 bits the
moments take a byte each, and the projection stays in the weights' format, as in
jiaweizzhao/GaLore at 0c63f63. Embeddings, norms and the LM head keep Adam's full moments.
"""

from collections.abc import Iterator

from zo2sim.dtypes import Dtype
from zo2sim.models.shapes import Model, Parameter


def state_bytes(model: Model, rank: int, dtype: Dtype, *, eight_bit: bool) -> int:
    """All optimizer states; the scales of 8-bit blocks (0.2 % with blocks of 2048) are left out."""
    moment = 1 if eight_bit else dtype.bytes
    full = 2 * moment * sum(p.elements for p in _others(model))
    return full + sum(_projected(p, rank, moment, dtype) for p in _matrices(model))


def adam_state_bytes(model: Model, dtype: Dtype) -> int:
    """What Adam keeps in the weights' format: two moments."""
    return 2 * model.elements * dtype.bytes


def _projected(p: Parameter, rank: int, moment: int, dtype: Dtype) -> int:
    short, long = min(p.shape), max(p.shape)
    kept = min(rank, short)
    return short * kept * dtype.bytes + 2 * kept * long * moment


def _matrices(model: Model) -> Iterator[Parameter]:
    return (p for block in model.blocks for p in block.parameters if len(p.shape) == 2)


def _others(model: Model) -> Iterator[Parameter]:
    yield from (*model.head.parameters, *model.tail.parameters)
    yield from (p for block in model.blocks for p in block.parameters if len(p.shape) != 2)
