"""Files: what making a record durable takes, and reading and writing in large pieces."""

import os
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from zo2sim.cost.measured import Measured

_RECORD = b"x" * 512
_PIECE_BYTES = 1 << 24
_PAGE_BYTES = 4096
_TIMES = 20


def fsyncs(folder: Path) -> Iterator[Measured]:
    """An append of a record and its fsync."""
    path = folder / "fsync.probe"
    with path.open("ab", buffering=0) as file:
        for _ in range(_TIMES):
            start_s = perf_counter()
            file.write(_RECORD)
            os.fsync(file.fileno())
            yield _row("fsync", {"host.fsync_s": 1.0}, start_s)
    path.unlink()


def pieces(folder: Path, *, count: int = 6) -> Iterator[Measured]:
    """Writes that end on the drive, and reads of what the system was told to forget.

    Where the system keeps it nevertheless, a read is as fast as memory.
    """
    path = folder / "pieces.probe"
    piece = os.urandom(_PIECE_BYTES)
    for _ in range(count):
        with path.open("wb", buffering=0) as file:
            start_s = perf_counter()
            file.write(piece)
            os.fsync(file.fileno())
            yield _row("write", {"nvme.write_bytes_per_s": float(len(piece))}, start_s)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        yield from _reads(path)
    path.unlink()


def _reads(path: Path) -> Iterator[Measured]:
    """One page from the end, then everything."""
    with path.open("rb", buffering=0) as file:
        start_s = perf_counter()
        os.pread(file.fileno(), _PAGE_BYTES, _PIECE_BYTES - _PAGE_BYTES)
        yield _row("read a page", {"nvme.latency_s": 1.0}, start_s)
        start_s = perf_counter()
        taken = {"nvme.read_bytes_per_s": float(len(file.read())), "nvme.latency_s": 1.0}
        yield _row("read", taken, start_s)


def _row(name: str, taken: dict[str, float], start_s: float) -> Measured:
    return Measured(group=name, name=name, amounts=taken, seconds=perf_counter() - start_s)
