"""The correction that a measured table makes to a roofline, on a grid of shapes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zo2sim.cost.kernels.roofline import Array

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GridResidual:
    """Logarithms of measured over predicted time at the points of a grid.

    ``axes`` hold the grid's coordinates, increasing; ``values`` have one axis for each. Between
    points they are interpolated linearly in the logarithm of every coordinate.
    `analysis.fits.kernels.fit` smooths what was measured and fills the holes.
    """

    axes: tuple[Array, Array, Array]
    values: Array  # (axis 0, axis 1, axis 2)

    def __post_init__(self) -> None:
        sizes = tuple(axis.size for axis in self.axes)
        if self.values.shape != sizes:
            raise ValueError(
                f"values must have the shape of axes, {sizes}; got {self.values.shape}"
            )

    def __call__(self, x: Array, y: Array, z: Array) -> Array:
        """Correction of the natural logarithm of time at flat arrays of shapes.

        Outside the grid's range the value at its edge holds: efficiency saturates.
        """
        rows, columns, depths = map(_between, self.axes, (x, y, z))
        total = np.zeros(x.shape)
        for i, along in rows:
            for j, across in columns:
                for k, deep in depths:
                    total += along * across * deep * self.values[i, j, k]
        return total

    def covers(self, x: Array, y: Array, z: Array) -> Flags:
        """Whether each shape lies within the range of every axis."""
        inside = np.ones(x.shape, dtype=bool)
        for axis, values in zip(self.axes, (x, y, z), strict=True):
            inside &= (axis[0] <= values) & (values <= axis[-1])
        return inside


def _between(axis: Array, values: Array) -> tuple[tuple[NDArray[np.intp], Array], ...]:
    """Indices of the axis's points around each value, with their weights."""
    place = np.interp(np.log2(values), np.log2(axis), np.arange(axis.size))
    below = place.astype(np.intp)
    share = place - below
    return (below, 1 - share), (np.minimum(below + 1, axis.size - 1), share)
