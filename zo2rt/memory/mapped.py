"""How much memory tensors give back when nobody holds them any more.

Weights that were loaded from a file in the file's own dtype are pages of that file. They count as
free memory all the time, so moving them elsewhere takes as much again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

_SMAPS = Path("/proc/self/smaps")
_NO_FILES = ("/dev/", "/memfd:", "/SYSV")  # memory that has a name


@dataclass(frozen=True, slots=True)
class Mapping:
    """Addresses that show a file, and how many bytes of them were written and became memory."""

    start: int
    end: int
    written_bytes: int

    def cached_bytes(self, pieces: Iterable[range]) -> int:
        """Bytes of the pieces that are still the file's, at least."""
        overlaps = (min(p.stop, self.end) - max(p.start, self.start) for p in pieces)
        return max(0, sum(o for o in overlaps if o > 0) - self.written_bytes)


def given_back_bytes(
    tensors: Iterable[Tensor], device: torch.device, *, smaps: Path = _SMAPS
) -> int:
    """Memory of ``device`` that is free without those tensors that are there, at most.

    ``smaps`` says what is a file's, as proc(5) describes; without it nothing is.
    """
    storages = [t.untyped_storage() for t in tensors if t.device == device]
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    pieces = [range(start, start + nbytes) for start, nbytes in sizes.items()]
    files = file_mappings(smaps) if pieces and device.type == "cpu" else ()
    return sum(sizes.values()) - sum(mapping.cached_bytes(pieces) for mapping in files)


def file_mappings(smaps: Path) -> Iterator[Mapping]:
    """Every mapping of a file; none where there is no such list."""
    try:
        lines = smaps.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    place = None
    for line in lines:
        first, *others = line.split(maxsplit=5)
        if not first.endswith(":"):
            place = first if _is_file(others) else None
        elif first == "Anonymous:" and place is not None:
            start, _, end = place.partition("-")
            yield Mapping(int(start, 16), int(end, 16), int(others[0]) * 1024)


def _is_file(others: list[str]) -> bool:
    """Of what follows the addresses: permissions, offset, device, inode and path."""
    path = others[4] if len(others) > 4 else ""
    return path.startswith("/") and not path.startswith(_NO_FILES)
