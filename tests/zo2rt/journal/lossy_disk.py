"""A disk in memory that remembers the order of all operations, and can crash after any of them.

After a crash every write and every change of a name that was not fsynced may be there, be lost,
or (a write) be there in part, independently of the others. Write-backs in an order of their own,
zeros where data never arrived: whatever POSIX allows.
"""

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from zo2rt.journal.durable import FileSystem

Node = bytearray | dict[str, int]
"""A file's bytes, or a folder's names and the numbers of their nodes."""


class Write(NamedTuple):
    node: int
    offset: int
    data: bytes


class Truncate(NamedTuple):
    node: int
    num_bytes: int


class Names(NamedTuple):
    """Entries of a folder that change at once; None removes a name."""

    node: int
    entries: tuple[tuple[str, int | None], ...]


class Sync(NamedTuple):
    node: int


Change = Write | Truncate | Names | Sync


@dataclass
class LossyDisk(FileSystem):
    """``fail_at`` makes the operation of that number, and all later ones that need room, fail."""

    def __init__(self, nodes: dict[int, Node] | None = None, fail_at: int | None = None) -> None:
        self.nodes: dict[int, Node] = nodes or {0: {}}
        self.log: list[Change] = []
        self.fail_at = fail_at
        self._start = _copy(self.nodes)

    def after_crash(self, length: int | None = None) -> Iterator["LossyDisk"]:
        """Every disk that a crash after the first ``length`` operations can leave, each once."""
        log = self.log if length is None else self.log[:length]
        options = [_options(change, log[i + 1 :]) for i, change in enumerate(log)]
        seen: set[object] = set()
        for choice in product(*options):
            disk = self._rebuilt(choice)
            if (files := disk.files(0)) not in seen:
                seen.add(files)
                yield disk

    def files(self, number: int) -> object:
        """All names and bytes at and below a node."""
        node = self.nodes[number]
        if isinstance(node, bytearray):
            return bytes(node)
        return tuple((name, self.files(inner)) for name, inner in sorted(node.items()))

    def after_kill(self, length: int) -> "LossyDisk":
        """The disk as a new process sees it when the old one was killed: nothing lost yet."""
        disk = self._rebuilt(tuple((change,) for change in self.log[:length]))
        disk.log, disk._start = self.log[:length], self._start
        return disk

    def open(self, path: Path, *, new: bool) -> int:
        folder = self._node(path.parent)
        if not new:
            return self._node(path)
        self._spend()
        number = max((*self.nodes, *_created(self.log))) + 1
        self.nodes[number] = bytearray()
        self._do(Names(folder, ((path.name, number),)))
        return number

    def write(self, handle: int, data: memoryview) -> int:
        goes_on = bool(self.log) and isinstance(self.log[-1], Write)
        part = bytes(data if goes_on else data[: max(1, len(data) // 2)])  # a short write first
        self._do(Write(handle, len(self.nodes[handle]), part))
        self._spend()
        return len(part)

    def size(self, handle: int) -> int:
        return len(self.nodes[handle])

    def truncate(self, handle: int, num_bytes: int) -> None:
        self._do(Truncate(handle, num_bytes))

    def fsync(self, handle: int) -> None:
        self._spend()
        self._do(Sync(handle))

    def close(self, handle: int) -> None:
        assert handle in self.nodes

    def fsync_folder(self, path: Path) -> None:
        self._do(Sync(self._node(path)))

    def rename(self, source: Path, target: Path) -> None:
        assert source.parent == target.parent
        self._spend()
        number = self._node(source)
        self._do(Names(self._node(source.parent), ((source.name, None), (target.name, number))))

    def make_folder(self, path: Path) -> None:
        self._spend()
        number = max((*self.nodes, *_created(self.log))) + 1
        self.nodes[number] = {}
        self._do(Names(self._node(path.parent), ((path.name, number),)))

    def remove(self, path: Path) -> None:
        self._do(Names(self._node(path.parent), ((path.name, None),)))

    def read(self, path: Path) -> bytes:
        data = self.nodes[self._node(path)]
        assert isinstance(data, bytearray)
        return bytes(data)

    def names(self, folder: Path) -> tuple[str, ...]:
        node = self.nodes[self._node(folder)]
        assert isinstance(node, dict)
        return tuple(sorted(node))

    def is_folder(self, path: Path) -> bool:
        return self.exists(path) and isinstance(self.nodes[self._node(path)], dict)

    def exists(self, path: Path) -> bool:
        try:
            self._node(path)
        except FileNotFoundError:
            return False
        return True

    def locked(self, folder: Path) -> AbstractContextManager[None]:
        return nullcontext()

    def _node(self, path: Path) -> int:
        number = 0
        for name in path.parts[1:]:
            folder = self.nodes[number]
            if not isinstance(folder, dict) or name not in folder:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
            number = folder[name]
        return number

    def _do(self, change: Change) -> None:
        self.log.append(change)
        _apply(self.nodes, change)

    def _spend(self) -> None:
        if self.fail_at is not None:
            self.fail_at -= 1
            if self.fail_at < 0:
                raise OSError(errno.ENOSPC, "No space left on device")

    def _rebuilt(self, choice: tuple[tuple[Change, ...], ...]) -> "LossyDisk":
        nodes = _copy(self._start)
        for number, node in self.nodes.items():  # what was created since is empty at first
            nodes.setdefault(number, {} if isinstance(node, dict) else bytearray())
        for changes in choice:
            for change in changes:
                _apply(nodes, change)
        return LossyDisk(nodes)


def _copy(nodes: dict[int, Node]) -> dict[int, Node]:
    return {number: node.copy() for number, node in nodes.items()}


def _created(log: list[Change]) -> Iterator[int]:
    for change in log:
        if isinstance(change, Names):
            yield from (number for _, number in change.entries if number is not None)


def _apply(nodes: dict[int, Node], change: Change) -> None:
    node = nodes[change.node]
    match change, node:
        case Write(_, offset, data), bytearray():
            node.extend(bytes(max(0, offset + len(data) - len(node))))
            node[offset : offset + len(data)] = data
        case Truncate(_, num_bytes), bytearray():
            del node[num_bytes:]
        case Names(_, entries), dict():
            for name, number in entries:
                node.pop(name, None)
                if number is not None:
                    node[name] = number
        case _:
            assert isinstance(change, Sync)


def _options(change: Change, later: list[Change]) -> tuple[tuple[Change, ...], ...]:
    """What may have become of a change: each option is the changes that reached the disk."""
    if isinstance(change, Sync) or any(
        isinstance(other, Sync) and other.node == change.node for other in later
    ):
        return ((change,),)
    if not isinstance(change, Write):
        return ((change,), ())
    half = len(change.data) // 2
    zeros = change._replace(data=bytes(len(change.data)))
    return ((change,), (), (change._replace(data=change.data[:half]),), (zeros,))
