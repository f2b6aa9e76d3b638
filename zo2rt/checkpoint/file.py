"""One safetensors file (https://huggingface.co/docs/safetensors: Format): its header, its tensors.

Bytes are read, not mapped: a file that ends early or a disk that fails is an error with a name
then, and no signal, and what was read is no memory of the process any more once it is let go.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zo2rt.checkpoint.stored import Stored
from zo2rt.tensor_file import DTYPES, LENGTH
from zo2sim.checks import shown

_MOST_HEADER = 100_000_000  # the format's own limit
_AGAIN = "copy or download it again"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies, and the file's size, time and number when that was read."""

    path: Path
    name: str
    start: int
    num_bytes: int
    state: tuple[int, ...]


def tensors(path: Path) -> dict[str, Stored]:
    """Every tensor of the file, by name; the header alone is read.

    Raises ``ValueError`` that names the file, and the tensor where it is one, where the file is
    not what the format says, or is shorter or longer than its header does.
    """
    with path.open("rb") as file:
        state = _state(file.fileno())
        entries, start = _header(path, file.read(LENGTH), file.read, state[0])
    places = {name: _place(path, name, entry, start, state) for name, entry in entries.items()}
    _check_covered(path, places.values(), start, state[0])
    return {
        name: Stored(
            name=name,
            shape=tuple(entries[name]["shape"]),
            dtype=DTYPES[entries[name]["dtype"]],
            files=(path,),
            read=partial(_read, place, entries[name]),
        )
        for name, place in places.items()
    }


def sha256(path: Path) -> str:
    """Of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _header(path: Path, length: bytes, read: Any, size: int) -> tuple[dict[str, Any], int]:
    """What the header says of every tensor, and where their bytes begin."""
    num_bytes = int.from_bytes(length, "little")
    if len(length) < LENGTH or not 0 < num_bytes <= min(_MOST_HEADER, size - LENGTH):
        raise ValueError(
            f"{path}: must begin with a safetensors header that fits into it; the file has {size} "
            f"bytes, and its first {LENGTH} promise a header of {num_bytes}; {_AGAIN}"
        )
    try:
        fields = json.loads(read(num_bytes))
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: its header must be a JSON object, and it is damaged; {_AGAIN}")
    fields.pop("__metadata__", None)
    return fields, LENGTH + num_bytes


def _place(path: Path, name: str, entry: Any, start: int, state: tuple[int, ...]) -> _Place:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(first), int(end)]} if (
            dtype in DTYPES and all(isinstance(n, int) and n >= 0 for n in shape)
        ):
            needed = prod(shape) * DTYPES[dtype].itemsize
            if first >= 0 and end - first == needed:
                return _Place(path, name, start + first, needed, state)
    raise ValueError(
        f"{path}: {name} must have a dtype of {', '.join(DTYPES)}, a shape and as many bytes as "
        f"these take; got {shown(entry)}"
    )


def _check_covered(path: Path, places: Any, start: int, size: int) -> None:
    """Nothing is missing of the file, nothing follows, and no two tensors share a byte."""
    end, last = start, None
    for place in sorted(places, key=lambda one: (one.start, one.num_bytes)):
        if place.start != end:
            raise ValueError(
                f"{path}: tensors must lie one behind the other; {place.name} begins at byte "
                f"{place.start}, and what is before it ends at {end}; {_AGAIN}"
            )
        end, last = place.start + place.num_bytes, place
        if end > size:
            raise ValueError(
                f"{path}: is torn: {place.name} lies at bytes {place.start} to {end}, and the "
                f"file ends at {size}; {_AGAIN}"
            )
    if end != size:
        behind = "its header" if last is None else last.name
        raise ValueError(f"{path}: must end at byte {end}, behind {behind}; it has {size} bytes")


def _read(place: _Place, entry: Mapping[str, Any]) -> Tensor:
    buffer = torch.empty(place.num_bytes, dtype=torch.uint8)
    with place.path.open("rb", buffering=0) as file:
        if _state(file.fileno()) != place.state:
            raise ValueError(f"{place.path}: was changed while it was in use; load it anew")
        for view in _views(buffer):
            _fill(file.fileno(), view, place)
    return buffer.view(DTYPES[entry["dtype"]]).view(entry["shape"])


_PIECE = 1 << 30  # Linux reads no more than 2 GiB at once


def _views(buffer: Tensor) -> Iterator[tuple[int, memoryview]]:
    data = buffer.numpy().data
    yield from ((at, data[at : at + _PIECE]) for at in range(0, len(data), _PIECE))


def _fill(handle: int, piece: tuple[int, memoryview], place: _Place) -> None:
    at, view = piece
    while len(view):
        try:
            count = os.preadv(handle, [view], place.start + at)
        except OSError as error:
            what = f"{place.name} could not be read ({error.strerror})"
            raise OSError(error.errno, what, str(place.path)) from error
        if count == 0:
            raise ValueError(f"{place.path}: is torn: it ends in the middle of {place.name}")
        at, view = at + count, view[count:]


def _state(handle: int) -> tuple[int, ...]:
    """Size first; another file under the same name has another number, whatever its time."""
    found = os.fstat(handle)
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev
