"""A batch of an evaluation in parts, a microbatch each, and what came of the parts as one."""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers.trainer_pt_utils import nested_concat

Prediction = tuple[Tensor | None, Any, Any]
"""Loss, logits and labels of a batch; None for what it does not have."""


def parts(inputs: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Rows of a batch in ``count`` parts, as even as can be; fewer where there are fewer rows."""
    total = rows(inputs)
    bounds = [total * number // count for number in range(count + 1)]
    return [
        {name: _cut(value, first, last) for name, value in inputs.items()}
        for first, last in pairwise(bounds)
        if first < last
    ]


def rows(inputs: Mapping[str, Any]) -> int:
    return max(value.shape[0] for value in inputs.values() if isinstance(value, Tensor))


def joined(predictions: Sequence[Prediction], counts: Sequence[int]) -> Prediction:
    """The parts of a batch as one: losses averaged over the rows, the rest concatenated."""
    if len(predictions) == 1:
        return predictions[0]
    losses, logits, labels = zip(*predictions, strict=True)
    loss = None
    if losses[0] is not None:
        weights = torch.tensor(counts, dtype=losses[0].dtype, device=losses[0].device)
        loss = (torch.stack(losses) * weights).sum() / weights.sum()
    return loss, _concatenated(logits), _concatenated(labels)


def _cut(value: Any, first: int, last: int) -> Any:
    return value[first:last] if isinstance(value, Tensor) and value.ndim else value


def _concatenated(tensors: Sequence[Any]) -> Any:
    return None if tensors[0] is None else reduce(nested_concat, tensors)
