"""Blocks on NVMe: one file, two versions of every block.

A write goes to the half that is not current, so a block is whole on disk at any time; each half
says of which unit and version it is. The store is a cache of snapshot and journal (DESIGN 6) and is
filled anew at every start.
"""

import mmap
import os
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from zo2sim.writing import writing

_HEADER = 4096
"""Bytes before each half; data starts on a page."""
_NO_RESERVE = 0x4000  # Linux's MAP_NORESERVE, which mmap names from Python 3.13 on


class BlockStore:
    """Versions count the journal records that the weights contain."""

    def __init__(self, path: Path, sizes: dict[int, int]) -> None:
        """Room for blocks of ``sizes`` bytes, by unit.

        An earlier file at ``path`` is replaced, and so is a link, which is not followed. Raises
        ``FileExistsError`` where somebody else makes one meanwhile.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with writing(path):
            self._handle = os.open(path, flags, 0o644)
        self._sizes = dict(sizes)
        self._offsets: dict[int, int] = {}
        self._halves = {unit: _HEADER * (1 + -(-size // _HEADER)) for unit, size in sizes.items()}
        self._current = dict.fromkeys(sizes, 1)
        end = 0
        for unit, half in self._halves.items():
            self._offsets[unit] = end
            end += 2 * half
        try:
            os.posix_fallocate(self._handle, 0, max(end, 1))  # a full disk: found out before step 0
        except OSError as error:
            self.close()
            raise OSError(
                error.errno,
                f"two versions of every block on NVMe need {end / 1e9:.3g} GB ({error.strerror}); "
                f"nothing was left there; make room, or give a folder on another disk",
                str(path),
            ) from error

    def write(self, unit: int, source: Tensor, version: int) -> None:
        """Replace the block; ``source`` is flat uint8 in host memory."""
        half = 1 - self._current[unit]
        start = self._start(unit, half)
        self._put(source.numpy().data, start + _HEADER)
        self._put(memoryview(_title(unit, version)), start)
        self._current[unit] = half

    def read(self, unit: int, target: Tensor, version: int | None = None) -> None:
        """Fill ``target`` with the block. Raises ``RuntimeError`` when it is another version."""
        start = self._start(unit, self._current[unit])
        found = os.pread(self._handle, len(_title(unit, 0)), start)
        if version is not None and found != _title(unit, version):
            raise RuntimeError(
                f"{self._path}: block {unit} must be version {version}; "
                f"it says {found.decode(errors='replace').strip()!r}; was the file changed?"
            )
        view, done = target.numpy().data, 0
        while done < len(view):
            count = os.preadv(self._handle, [view[done:]], start + _HEADER + done)
            if count == 0:
                raise RuntimeError(f"{self._path}: block {unit} ends after {done} bytes; cut short")
            done += count

    def mapped(self, units: Collection[int]) -> dict[int, Tensor]:
        """The blocks where they lie, flat uint8: pages of the file, which take no memory for good.

        They show a block until its next write but one; after `close` they keep the file's room on
        the drive for as long as they are there. What is written to them stays in memory.
        """
        starts = {unit: self._start(unit, self._current[unit]) + _HEADER for unit in units}
        if not starts:
            return {}
        first = min(starts.values()) // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        end = max(start + self._sizes[unit] for unit, start in starts.items())
        flags = mmap.MAP_PRIVATE | _NO_RESERVE  # or more than the memory could not be mapped
        pages = mmap.mmap(self._handle, end - first, flags=flags, offset=first)
        return {
            unit: torch.frombuffer(
                pages, dtype=torch.uint8, count=self._sizes[unit], offset=start - first
            )
            for unit, start in starts.items()
        }

    def close(self) -> None:
        """Remove the file; a second call does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._path.unlink(missing_ok=True)
            self._handle = -1

    def _start(self, unit: int, half: int) -> int:
        return self._offsets[unit] + half * self._halves[unit]

    def _put(self, data: memoryview, offset: int) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self._handle, data[done:], offset + done)


def _title(unit: int, version: int) -> bytes:
    return f"unit {unit:<8d} version {version:<12d}\n".encode()
