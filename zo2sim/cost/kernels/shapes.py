"""Kernel shapes as arrays: checked, broadcast, and computed once where they repeat."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zo2sim.cost.kernels.roofline import Array

_FEW = 64  # below this, finding repeats costs more than it saves


def positive(**sizes: ArrayLike) -> list[Array]:
    """Sizes as arrays of one shape. Raises ``ValueError`` unless all are finite and > 0."""
    arrays = [np.asarray(size, dtype=np.float64) for size in sizes.values()]
    for name, array in zip(sizes, arrays, strict=True):
        wrong = array[~(np.isfinite(array) & (array > 0))]
        if wrong.size:
            raise ValueError(f"{name} must be finite and > 0; got {wrong.flat[0]:g}")
    return list(np.broadcast_arrays(*arrays))


def over_distinct(function: Callable[..., Array], arrays: Sequence[Array]) -> float | Array:
    """``function`` of arrays of one shape, elementwise: evaluated once per distinct tuple.

    The function sees flat arrays. Arrays without dimensions give a ``float``.
    """
    shape = arrays[0].shape
    flat = [a.ravel() for a in arrays]
    if flat[0].size <= _FEW:
        values = function(*flat)
    else:
        first, inverse = _distinct(flat)
        values = function(*(a[first] for a in flat))[inverse]
    return float(values[0]) if shape == () else values.reshape(shape)


def _distinct(flat: Sequence[Array]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Index of the first of each distinct tuple, and each tuple's place among them."""
    code = np.zeros(flat[0].size, dtype=np.int64)
    for array in flat:
        if np.all(array == array[0]):
            continue
        values, place = np.unique(array, return_inverse=True)
        _, code = np.unique(code * len(values) + place, return_inverse=True)
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    return first, inverse
