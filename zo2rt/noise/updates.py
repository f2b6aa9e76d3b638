"""Records as arrays, as the kernels of every device read them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zo2rt.noise.record import Record


class Updates(NamedTuple):
    """Records one after the other: record r owns the samples up to ``ends[r]``."""

    keys: NDArray[np.uint64]
    """Per sample."""
    coefficients: NDArray[np.float32]
    """a_i, per sample."""
    ends: NDArray[np.int32]
    """Per record: how many samples it and those before it have."""
    decays: NDArray[np.float32]
    """d, per record."""


def flattened(records: Sequence[Record]) -> Updates:
    """The records in the order given, without those that were skipped."""
    applied = [record for record in records if not record.skipped]
    sizes = [len(record.sample_keys) for record in applied]
    coefficients = [a for record in applied for a in record.coefficients]
    return Updates(
        keys=np.array([k for record in applied for k in record.sample_keys], dtype=np.uint64),
        coefficients=np.array(coefficients, dtype=np.float32),
        ends=np.cumsum(sizes, dtype=np.int32),
        decays=np.array([record.decay for record in applied], dtype=np.float32),
    )
