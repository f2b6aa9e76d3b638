"""Runs a workload in a process of its own and ends that process with SIGKILL.

A workload is any function of a module; it gets a folder and a `FileSystem`.
"""

import math
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import final

import psutil

from tests.forked import server
from zo2rt.journal.durable import Disk, FileSystem

Workload = Callable[[FileSystem, Path], None]

_STILL_S = 20.0
NEVER = 10**9
"""So many changes no workload makes."""


@final
@dataclass
class DyingDisk(FileSystem):
    """The machine's files, for ``operations`` changes of them; the next one kills the process.

    A write that is the last one arrives by half. An fsync counts but is left out: what was written
    survives the process either way, and `tests.zo2rt.journal.lossy_disk` stands for power cuts.
    """

    operations: int

    def __post_init__(self) -> None:
        self._disk = Disk()

    def open(self, path: Path, *, new: bool) -> int:
        self._spend()
        return self._disk.open(path, new=new)

    def write(self, handle: int, data: memoryview) -> int:
        if self.operations == 0:
            self._disk.write(handle, data[: len(data) // 2])
        self._spend()
        return self._disk.write(handle, data)

    def size(self, handle: int) -> int:
        return self._disk.size(handle)

    def truncate(self, handle: int, num_bytes: int) -> None:
        self._spend()
        self._disk.truncate(handle, num_bytes)

    def fsync(self, handle: int) -> None:
        self._spend()

    def close(self, handle: int) -> None:
        self._disk.close(handle)

    def fsync_folder(self, path: Path) -> None:
        self._spend()

    def rename(self, source: Path, target: Path) -> None:
        self._spend()
        self._disk.rename(source, target)

    def make_folder(self, path: Path) -> None:
        self._spend()
        self._disk.make_folder(path)

    def remove(self, path: Path) -> None:
        self._spend()
        self._disk.remove(path)

    def read(self, path: Path) -> bytes:
        return self._disk.read(path)

    def names(self, folder: Path) -> tuple[str, ...]:
        return self._disk.names(folder)

    def is_folder(self, path: Path) -> bool:
        return self._disk.is_folder(path)

    def exists(self, path: Path) -> bool:
        return self._disk.exists(path)

    def locked(self, folder: Path) -> AbstractContextManager[None]:
        return self._disk.locked(folder)

    def _spend(self) -> None:
        if self.operations == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.operations -= 1


def killed_after_time(workload: Workload, folder: Path, seconds: float) -> bool:
    """Kill the workload after a time; False when it had ended well by then."""
    process = _started(workload, folder, DyingDisk(NEVER))
    process.join(seconds)
    process.kill()
    return _was_killed(workload, process)


def killed_after_operations(workload: Workload, folder: Path, operations: int) -> bool:
    """Let the workload kill itself at a change of a file; False when it ended well before."""
    process = _started(workload, folder, DyingDisk(operations))
    _join_while_it_works(process)
    return _was_killed(workload, process)


def _started(workload: Workload, folder: Path, fs: FileSystem) -> BaseProcess:
    process = server().Process(target=workload, args=(fs, folder))
    process.start()
    return process


def _join_while_it_works(process: BaseProcess) -> None:
    """Wait for its end however slow the machine is; raise where it stands still."""
    before = -1.0
    while process.is_alive() and (now := _cpu_s(process)) > before:
        before = now
        process.join(_STILL_S)
    if process.is_alive():
        process.kill()
        raise RuntimeError(f"the workload must go on; it took no CPU time for {_STILL_S:.0f} s")


def _cpu_s(process: BaseProcess) -> float:
    """Of user and system; infinite where the process has ended."""
    try:
        return sum(psutil.Process(process.pid).cpu_times()[:2])
    except psutil.NoSuchProcess:
        return math.inf


def _was_killed(workload: Workload, process: BaseProcess) -> bool:
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(
            f"{workload.__name__} must end with 0 or by SIGKILL; its exit code is "
            f"{process.exitcode}; its error is on stderr"
        )
    return process.exitcode != 0
