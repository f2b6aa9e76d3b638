"""A safetensors file of tensors that are made one by one, as the library writes it of all."""

from collections.abc import Callable, Mapping
from io import FileIO
from itertools import accumulate
from pathlib import Path

from torch import Tensor

from zo2rt.backends.buffers import give_back_freed
from zo2rt.checkpoint.later import Later, Root
from zo2rt.tensor_file import DTYPES, Entry, bytes_of, header

_METADATA = {"format": "pt"}
_ORDER = {dtype: place for place, dtype in enumerate(DTYPES.values())}


def write(path: Path, tensors: Mapping[str, Later]) -> None:
    """Those that are parts of one are written together, while it is in memory."""
    entries = sorted(
        (Entry(name=n, dtype=t.dtype, shape=tuple(t.shape)) for n, t in tensors.items()),
        key=lambda one: (_ORDER[one.dtype], one.name),
    )
    opening = header(entries, metadata=_METADATA, compact=True)
    starts = accumulate((one.num_bytes for one in entries), initial=len(opening))
    place = dict(zip((one.name for one in entries), starts, strict=False))
    making = _Making()
    with path.open("wb", buffering=0) as file:
        _put(file, 0, memoryview(opening))
        for name in sorted(tensors, key=_by_root(tensors)):
            _put(file, place[name], bytes_of(making.made(tensors[name])))
    give_back_freed()


def _by_root(tensors: Mapping[str, Later]) -> Callable[[str], tuple[int, ...]]:
    """The order of what they are made of."""
    roots = (root for one in tensors.values() for root in one.roots)
    first = {root: number for number, root in enumerate(dict.fromkeys(roots))}
    return lambda name: tuple(first[root] for root in tensors[name].roots)


class _Making:
    """Keeps what a tensor is made of for the next one."""

    def __init__(self) -> None:
        self._kept: dict[Root, Tensor] = {}

    def made(self, one: Later) -> Tensor:
        self._kept = {root: t for root, t in self._kept.items() if root in one.roots}
        return one.made(self._root)

    def _root(self, root: Root) -> Tensor:
        if root not in self._kept:
            self._kept[root] = root()
        return self._kept[root]


def _put(file: FileIO, start: int, data: memoryview) -> None:
    file.seek(start)
    while len(data):
        data = data[file.write(data) :]
