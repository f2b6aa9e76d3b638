"""What a control group leaves a process of the host's memory; psutil knows the whole machine only.

Files as in the kernel's cgroup-v2.rst and cgroup-v1/memory.rst. A limit holds for a group and all
that are in it, so the tightest on the way from the process's own group up to the root counts. What
files have in memory can be dropped, so it counts as free, as it does in ``MemAvailable``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class _Files:
    """Names of what a version of the interface says of a group."""

    limit: str
    usage: str
    reclaimable: tuple[str, ...]
    """Lines of ``memory.stat``, for the group and all in it."""


_V2 = _Files("memory.max", "memory.current", ("inactive_file", "active_file"))
_V1 = _Files(
    "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")
)


def free_bytes(root: Path = ROOT, membership: Path = _MEMBERSHIP) -> int | None:
    """Bytes that this process's groups may still take; None where nothing limits them.

    ``membership`` lists the groups as /proc/self/cgroup does. A group that a container does not
    see, and a file that says no number, limit nothing.
    """
    found = (
        _left(folder, files)
        for hierarchy, path, files in _hierarchies(root, membership)
        for folder in _up(hierarchy, path)
    )
    return min((left for left in found if left is not None), default=None)


def _hierarchies(root: Path, membership: Path) -> Iterator[tuple[Path, str, _Files]]:
    """Where the memory controller may be, and the process's group there."""
    for line in _text(membership).splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            yield root, path, _V2
        elif "memory" in controllers.split(","):
            yield root / "memory", path, _V1


def _up(hierarchy: Path, path: str) -> Iterator[Path]:
    """The group's folder and every one that it is in, the root included."""
    own = Path(path.lstrip("/"))
    yield from (hierarchy / folder for folder in (own, *own.parents))


def _left(folder: Path, files: _Files) -> int | None:
    limit, usage = _text(folder / files.limit).strip(), _text(folder / files.usage).strip()
    if not (limit.isdecimal() and usage.isdecimal()):
        return None
    rows = dict(row.split(maxsplit=1) for row in _text(folder / "memory.stat").splitlines())
    reclaimable = sum(int(rows.get(name, 0)) for name in files.reclaimable)
    return max(0, int(limit) - int(usage) + reclaimable)


def _text(path: Path) -> str:
    """Empty where there is no such file, or none that may be read."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
