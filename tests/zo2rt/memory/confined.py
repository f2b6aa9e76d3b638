"""A hard limit, kept by the kernel, on what this process allocates from here on.

Needs the memory controller of cgroup-v1/memory.rst, and the right to make a group. What was
allocated before stays charged to where the process was; what is read of files counts too, and is
dropped where room is short.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup/memory")


@contextmanager
def confined(limit_bytes: int) -> Iterator[Path]:
    """In a group with no more room than this; a process that needs more is killed."""
    group = GROUPS / f"zo2sim-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
    before = _own()
    try:
        _enter(group)
        yield group
    finally:
        _enter(before)
        group.rmdir()


def times_full(group: Path) -> int:
    """How often something had to be dropped, as there was no room."""
    return int((group / "memory.failcnt").read_text())


def _own() -> Path:
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    path = next(path for _, names, path in lines if "memory" in names.split(","))
    return GROUPS / path.lstrip("/")


def _enter(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))
