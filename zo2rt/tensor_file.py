"""Tensors as bytes, and what a safetensors file says of them before they come.

https://huggingface.co/docs/safetensors: Format.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I16": torch.int16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""In the order in which the library writes tensors, wide ones first."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LENGTH = 8
"""Bytes that say how long the header is, and what its end is a multiple of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A tensor that a file is to hold."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def header(
    entries: Iterable[Entry], *, metadata: Mapping[str, str] | None = None, compact: bool = False
) -> bytes:
    """The bytes before the first tensor, of a file that holds these, one behind the other.

    They must be in an order in which each stands at a multiple of its width: wide ones first.
    """
    places: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for one in entries:
        start, end = end, end + one.num_bytes
        places[one.name] = {
            "dtype": NAMES[one.dtype],
            "shape": one.shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(places, separators=(",", ":") if compact else None).encode()
    text += b" " * (-len(text) % LENGTH)
    return len(text).to_bytes(LENGTH, "little") + text


def bytes_of(tensor: Tensor) -> memoryview:
    """What a file holds of it; not copied where it lies in host memory in one piece."""
    flat = tensor.detach().contiguous().cpu().flatten()
    return flat.view(torch.uint8).numpy().data


def weights_sha256(weights: Iterable[tuple[str, Tensor]]) -> str:
    """Over the name and the bytes of each, in the order in which they come."""
    total = sha256()
    for name, tensor in weights:
        total.update(name.encode())
        total.update(bytes_of(tensor))
    return total.hexdigest()


def decoded(data: memoryview, dtype: str, shape: Sequence[int]) -> Tensor:
    """A tensor of its own, from its bytes in a file, and what the header says of it."""
    if not data:  # which frombuffer refuses
        return torch.empty(tuple(shape), dtype=DTYPES[dtype])
    return torch.frombuffer(bytearray(data), dtype=DTYPES[dtype]).reshape(tuple(shape))
