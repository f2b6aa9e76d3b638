"""Numbers as short text: fewer bits than a float has, bytes of like weight together, gzip, base64.

A step keeps 16 bits of its mantissa (15 parts in a million), memory all of its bits, so that what
fits is decided as the engine decides it. The page's `store.js` reads what is written here.
"""

import base64
import gzip
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.planner.tables import Steps

MOST_WIDE = 255
"""Code of an enclosure that is as wide, or wider."""
WIDTH_STEP = 0.0025
"""Of an enclosure's width, relative to its lower end: how much one code stands for."""
_MET = 1e-4  # a width that is rounding
_SHARES = 65535

Bytes = NDArray[np.uint8]


def packed(tables: Sequence[Steps]) -> str:
    """All numbers of one model's tables, in the order of the tables."""
    whole = b"".join(part.tobytes() for table in tables for part in _parts(table))
    return base64.b64encode(gzip.compress(whole, compresslevel=9, mtime=0)).decode()


def _parts(table: Steps) -> Iterator[Bytes]:
    yield from _planes(table.memory.astype("<f8"), drop=0)
    yield from _planes(table.lower_s.astype("<f4"), drop=1)
    yield _widths(table)
    yield from _planes(_shares(table), drop=0)
    yield from _planes(table.limits_s.astype("<f4"), drop=0)
    yield from _planes(np.diff(table.least, axis=2, prepend=0.0).astype("<f8"), drop=0)


def _planes(numbers: NDArray[np.generic], *, drop: int) -> Iterator[Bytes]:
    """The bytes of all numbers, lowest first, less the ``drop`` lowest ones."""
    split = np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, numbers.dtype.itemsize)
    for weight in range(drop, numbers.dtype.itemsize):
        yield np.ascontiguousarray(split[:, weight])


def _widths(table: Steps) -> Bytes:
    """How far the ends of a step are apart, rounded up; 0 where they meet."""
    width = table.upper_s / table.lower_s - 1.0
    codes = np.where(width < _MET, 0.0, np.ceil(width / WIDTH_STEP))
    return np.minimum(codes, MOST_WIDE).astype(np.uint8)


def _shares(table: Steps) -> NDArray[np.uint16]:
    """What computing takes, of the step's lower end."""
    return np.rint(table.compute_s / table.lower_s * _SHARES).astype("<u2")
