"""Durable files: the one place that writes, fsyncs and renames.

A `FileSystem` is handed in, so that tests can lose what was not fsynced. Data is durable after an
fsync of its file, a name only after an fsync of its folder (fsync(2), POSIX.1-2024 rename).
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import final

from zo2rt.lock import one_writer

TEMPORARY = ".tmp"
"""Ending of names that are not published yet; whatever carries it may be removed at a start."""

_AT_ONCE = 2**20  # bytes that are gathered before they are written


class FileSystem(ABC):
    """The operations by which the runtime touches files; each may raise ``OSError``."""

    @abstractmethod
    def open(self, path: Path, *, new: bool) -> int:
        """A handle that appends: to a ``new`` file, which must not be there, or to one that is."""

    @abstractmethod
    def write(self, handle: int, data: memoryview) -> int:
        """Append a leading part of ``data``; returns how many bytes, at least 1."""

    @abstractmethod
    def size(self, handle: int) -> int:
        """Bytes in the file."""

    @abstractmethod
    def truncate(self, handle: int, num_bytes: int) -> None:
        """Cut the file down to its first ``num_bytes`` bytes."""

    @abstractmethod
    def fsync(self, handle: int) -> None:
        """Return when the file's bytes are durable; its name need not be."""

    @abstractmethod
    def close(self, handle: int) -> None:
        """Give the handle back; makes nothing durable."""

    @abstractmethod
    def fsync_folder(self, path: Path) -> None:
        """Return when the names in the folder are durable."""

    @abstractmethod
    def rename(self, source: Path, target: Path) -> None:
        """Atomic; replaces a file of the target's name."""

    @abstractmethod
    def make_folder(self, path: Path) -> None:
        """The parent must exist."""

    @abstractmethod
    def remove(self, path: Path) -> None:
        """A file, or an empty folder."""

    @abstractmethod
    def read(self, path: Path) -> bytes:
        """All bytes of a file."""

    @abstractmethod
    def names(self, folder: Path) -> tuple[str, ...]:
        """Names in a folder, sorted."""

    @abstractmethod
    def is_folder(self, path: Path) -> bool:
        """Whether ``path`` is there and is a folder."""

    @abstractmethod
    def exists(self, path: Path) -> bool:
        """Whether ``path`` is there at all."""

    @abstractmethod
    def locked(self, folder: Path) -> AbstractContextManager[None]:
        """Inside, nobody else is in the folder; ``BlockingIOError`` where somebody is."""


@final
class Disk(FileSystem):
    """The machine's own files."""

    def open(self, path: Path, *, new: bool) -> int:
        flags = os.O_CREAT | os.O_EXCL if new else 0  # no link that lies there is followed
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | flags, 0o666)

    def write(self, handle: int, data: memoryview) -> int:
        return os.write(handle, data)

    def size(self, handle: int) -> int:
        return os.fstat(handle).st_size

    def truncate(self, handle: int, num_bytes: int) -> None:
        os.ftruncate(handle, num_bytes)

    def fsync(self, handle: int) -> None:
        os.fsync(handle)

    def close(self, handle: int) -> None:
        os.close(handle)

    def fsync_folder(self, path: Path) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def make_folder(self, path: Path) -> None:
        path.mkdir()

    def remove(self, path: Path) -> None:
        if self.is_folder(path):
            path.rmdir()
        else:
            path.unlink()

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def names(self, folder: Path) -> tuple[str, ...]:
        return tuple(sorted(os.listdir(folder)))

    def is_folder(self, path: Path) -> bool:
        return path.is_dir() and not path.is_symlink()

    def exists(self, path: Path) -> bool:
        return os.path.lexists(path)

    def locked(self, folder: Path) -> AbstractContextManager[None]:
        return one_writer(folder)


def append(fs: FileSystem, path: Path, data: bytes, *, at: int) -> None:
    """Append durably to a file of exactly ``at`` bytes.

    After an error the file is cut back to ``at`` bytes if the disk still allows that; what it
    does not allow to be cut is at most an incomplete end. Raises ``ValueError`` when the file
    has another size.
    """
    with _opened(fs, path, new=False) as handle:
        if (size := fs.size(handle)) != at:
            raise ValueError(
                f"{path}: must have the {at} bytes that this process knows of; it has {size}: "
                f"a write failed, or another process writes to it; open the file again"
            )
        try:
            _write_all(fs, handle, data)
            fs.fsync(handle)
        except OSError:
            _cut_back(fs, handle, at)
            raise


def settle(fs: FileSystem, path: Path, *, num_bytes: int) -> None:
    """Cut a file to ``num_bytes``, and make it and its name durable.

    What a killed process wrote can be read back before it is durable: whoever builds on a file
    settles it first.
    """
    with _opened(fs, path, new=False) as handle:
        if fs.size(handle) > num_bytes:
            fs.truncate(handle, num_bytes)
        fs.fsync(handle)
    fs.fsync_folder(path.parent)


def write_new(fs: FileSystem, path: Path, data: bytes) -> None:
    """A file with durable bytes; its name is durable after an fsync of the folder."""
    write_pieces(fs, path, (data,))


def write_pieces(fs: FileSystem, path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """The same of bytes that lie in several places; small ones are written together."""
    with _opened(fs, path, new=True) as handle:
        small = bytearray()
        for piece in pieces:
            if len(small) + len(piece) > _AT_ONCE:
                _write_all(fs, handle, small)
                small = bytearray()
            if len(piece) > _AT_ONCE:
                _write_all(fs, handle, piece)
            else:
                small += piece
        _write_all(fs, handle, small)
        fs.fsync(handle)


def publish(fs: FileSystem, path: Path, data: bytes) -> None:
    """Replace or create a file at once: readers see the old bytes or the new, also after a crash.

    After an error the old file is untouched and the temporary one is removed.
    """
    with published(fs, path) as temporary:
        write_new(fs, temporary, data)


@contextmanager
def published(fs: FileSystem, path: Path) -> Iterator[Path]:
    """A temporary name: the file or folder that the block makes durable there becomes ``path``.

    What an interrupted process left there goes first. When the block fails it is removed, and gives
    its room back.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    remove_tree(fs, temporary)
    try:
        yield temporary
        fs.rename(temporary, path)
    except Exception:
        _try_to_remove(fs, temporary)
        raise
    fs.fsync_folder(path.parent)


def ensure_folder(fs: FileSystem, path: Path) -> None:
    """Create a folder and its missing parents, durably; nothing happens when it is there.

    A link to a folder is as good.
    """
    if not fs.exists(path):
        ensure_folder(fs, path.parent)
        fs.make_folder(path)
    try:
        fs.names(path)
    except (NotADirectoryError, FileNotFoundError):
        raise ValueError(
            f"{path}: must be a folder; it is a file, or a link to nothing; name another folder"
        ) from None
    if path.parent != path:
        fs.fsync_folder(path.parent)


def remove_tree(fs: FileSystem, path: Path) -> None:
    """Remove a file, or a folder with all that is in it; nothing happens when it is absent."""
    if fs.is_folder(path):
        for name in fs.names(path):
            remove_tree(fs, path / name)
    if fs.exists(path):
        fs.remove(path)


def remove_temporary(fs: FileSystem, names: Iterable[Path]) -> None:
    """Remove what an interrupted process left under temporary names."""
    for path in names:
        if path.name.endswith(TEMPORARY):
            remove_tree(fs, path)


@contextmanager
def _opened(fs: FileSystem, path: Path, *, new: bool) -> Iterator[int]:
    handle = fs.open(path, new=new)
    try:
        yield handle
    finally:
        fs.close(handle)


def _write_all(fs: FileSystem, handle: int, data: bytes | bytearray | memoryview) -> None:
    rest = memoryview(data)
    while len(rest):
        rest = rest[fs.write(handle, rest) :]


def _cut_back(fs: FileSystem, handle: int, num_bytes: int) -> None:
    try:
        fs.truncate(handle, num_bytes)
        fs.fsync(handle)
    except OSError:
        return  # the first error is the one to report; the end is cut when the file is opened next


def _try_to_remove(fs: FileSystem, path: Path) -> None:
    try:
        remove_tree(fs, path)
    except OSError:
        return  # the first error is the one to report; the next start removes temporary names
