"""A file of a snapshot: safetensors, written from the weights where they lie, and read back.

Nothing is gathered in memory: https://huggingface.co/docs/safetensors says what stands where. A
tensor's digest is that of the weights when they were drawn. Were the bytes on disk others, of a
buffer that held another block by the time it was written, say, they would not agree.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from zo2rt.journal import durable
from zo2rt.journal.chain import DamageError
from zo2rt.journal.durable import FileSystem
from zo2rt.tensor_file import LENGTH, Entry, bytes_of, decoded, header


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A file as it was meant. ``sha256`` covers its header and the digests of ``tensors``."""

    name: str
    num_bytes: int
    sha256: str
    tensors: Mapping[str, str]
    """Digest of the bytes of every tensor, by name."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A tensor's bytes in host memory, not copied where they are there, and their digest."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    data: memoryview
    sha256: str

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> Self:
        data = bytes_of(tensor)
        return cls(name, tensor.dtype, tuple(tensor.shape), data, _digest(data))

    @property
    def order(self) -> tuple[int, str]:
        """Wide ones first, so that each stands at a multiple of its width."""
        return -self.dtype.itemsize, self.name


def write(fs: FileSystem, path: Path, drawn: Sequence[Drawn]) -> Shard:
    """Return when the bytes are durable, and have been read back as they were meant.

    Raises `DamageError` that names a tensor whose bytes are others.
    """
    drawn = sorted(drawn, key=attrgetter("order"))
    entries = (Entry(name=one.name, dtype=one.dtype, shape=one.shape) for one in drawn)
    opening = header(entries)
    digests = {one.name: one.sha256 for one in drawn}
    shard = Shard(
        name=path.name,
        num_bytes=len(opening) + sum(len(one.data) for one in drawn),
        sha256=_sealed(opening, digests),
        tensors=digests,
    )
    durable.write_pieces(fs, path, (opening, *(one.data for one in drawn)))
    _check(shard, fs.read(path), path)
    return shard


class Held(Mapping[str, Tensor]):
    """A file's bytes in memory, and its tensors by name, in order of names.

    Each is copied when it is asked for. Raises `DamageError` where a byte is not as it was meant.
    """

    def __init__(self, fs: FileSystem, folder: Path, shard: Shard) -> None:
        data = checked(fs, folder, shard)
        opening = _opening(data)
        self._places: dict[str, Any] = json.loads(opening[LENGTH:])
        self._data = memoryview(data)[len(opening) :]

    def __getitem__(self, name: str) -> Tensor:
        place = self._places[name]
        data = self._data[slice(*place["data_offsets"])]
        return decoded(data, place["dtype"], place["shape"])

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._places))

    def __len__(self) -> int:
        return len(self._places)


def checked(fs: FileSystem, folder: Path, shard: Shard) -> bytes:
    """The file's bytes, each as it was meant; raises `DamageError`."""
    path = folder / shard.name
    try:
        data = fs.read(path)
    except (FileNotFoundError, NotADirectoryError):
        raise DamageError(f"{path}: must be there; it is missing") from None
    _check(shard, data, path)
    return data


def _opening(data: bytes) -> bytes:
    """The header, with its length."""
    return data[: LENGTH + int.from_bytes(data[:LENGTH], "little")]


def _check(shard: Shard, data: bytes, path: Path) -> None:
    opening = _opening(data)
    start = len(opening)
    try:
        places: dict[str, Any] = json.loads(opening[LENGTH:])
        found = {
            name: _digest(memoryview(data)[start:][slice(*place["data_offsets"])])
            for name, place in places.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found = {}
    if len(data) == shard.num_bytes and _sealed(opening, found) == shard.sha256:
        return
    other = [name for name, digest in shard.tensors.items() if found.get(name, digest) != digest]
    raise DamageError(
        f"{path}: must be the {shard.num_bytes} bytes that were written; the {len(data)} bytes "
        f"there differ{f', in {other[0]}' if other else ''}"
    )


def _sealed(opening: bytes, digests: Mapping[str, str]) -> str:
    return _digest(opening + json.dumps(digests, sort_keys=True).encode())


def _digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
