"""A batch of the user's, the microbatches that it is, and the lanes that read them."""

from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from zo2sim.policies import Layout
from zo2sim.schedule.ops import HEAD, Kind, Schedule


def split(batch: Mapping[str, Tensor], microbatches: int) -> list[dict[str, Tensor]]:
    """Microbatches along the first dimension, which must be a multiple of their number."""
    for name, tensor in batch.items():
        if tensor.shape[0] % microbatches:
            raise ValueError(
                f"{name}: the first dimension must be a multiple of {microbatches} microbatches; "
                f"got {tensor.shape[0]}"
            )
    parts = {name: tensor.chunk(microbatches) for name, tensor in batch.items()}
    return [{name: chunks[i] for name, chunks in parts.items()} for i in range(microbatches)]


def tokens(batch: Mapping[str, Tensor]) -> int:
    """How many a batch has; 0 where they have no name of their own."""
    found = batch.get("input_ids")
    return 0 if found is None else found.numel()


def lane_devices(layout: Layout, trip: Schedule, lanes: Sequence[int]) -> list[int]:
    """Where each of some lanes of a trip begins."""
    heads = (op for op in trip.ops if op.kind is Kind.FORWARD and op.unit == HEAD)
    found = {lane: op.device for op in heads for lane in layout.lanes(op)}
    return [found[lane] for lane in lanes]


def lane_batches(
    microbatches: Sequence[Mapping[str, Tensor]],
    lanes: Sequence[int],
    devices: Sequence[torch.device],
) -> list[dict[str, Tensor]]:
    """A batch per lane, on its device: every sample and sign reads every microbatch."""

    @cache
    def there(number: int, device: torch.device) -> dict[str, Tensor]:
        return {name: t.to(device) for name, t in microbatches[number].items()}

    count = len(microbatches)
    return [there(lane % count, on) for lane, on in zip(lanes, devices, strict=True)]
