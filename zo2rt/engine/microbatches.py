"""A batch of the user's, and the microbatches that it is."""

from collections.abc import Mapping

from torch import Tensor


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
