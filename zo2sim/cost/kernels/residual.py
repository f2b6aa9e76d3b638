"""What the measurements add to a roofline: a smooth correction of log time over a grid."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zo2sim.cost.kernels.roofline import Array

Flags = NDArray[np.bool_]

_CHUNK = 4096  # points at a time: bounds the working memory of large look-ups


class Component(NamedTuple):
    """One squared-exponential kernel: variance of log time and correlation length per axis.

    Lengths are in octaves (factors of two of the shape).
    """

    variance: float
    lengths: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GridResidual:
    """Posterior mean of a Gaussian process whose samples lie on a grid with holes.

    ``axes`` hold the grid's coordinates; ``weights`` (one per cell, 0 in a hole) are the solution
    of the regression (Rasmussen and Williams, Gaussian Processes for Machine Learning, eq. 2.25).
    The kernel is a product over the axes, so a look-up is three small contractions.
    """

    axes: tuple[Array, Array, Array]
    components: tuple[Component, ...]
    weights: Array  # (axis 0, axis 1, axis 2)

    def __call__(self, x: Array, y: Array, z: Array) -> Array:
        """Correction of the natural logarithm of time at flat arrays of shapes.

        Outside the grid's range the value at its edge holds: efficiency saturates.
        """
        parts = [
            self._at(*(a[i : i + _CHUNK] for a in (x, y, z))) for i in range(0, x.size, _CHUNK)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def covers(self, x: Array, y: Array, z: Array) -> Flags:
        """Whether each shape lies within the range of every axis."""
        inside = np.ones(x.shape, dtype=bool)
        for axis, values in zip(self.axes, (x, y, z), strict=True):
            inside &= (axis[0] <= values) & (values <= axis[-1])
        return inside

    def _at(self, x: Array, y: Array, z: Array) -> Array:
        places = zip((x, y, z), self.axes, strict=True)
        gaps = [squared_octaves(values, axis) for values, axis in places]
        total = np.zeros(x.size)
        for variance, lengths in self.components:
            a, b, c = (correlation(g, length) for g, length in zip(gaps, lengths, strict=True))
            rest = np.tensordot(a, self.weights, axes=1)  # (point, axis 1, axis 2)
            total += variance * np.einsum("pj,pjk,pk->p", b, rest, c)
        return total


def correlation(gaps: Array, length: float) -> Array:
    """Squared-exponential correlation of points whose squared distances are ``gaps``."""
    return np.exp(-0.5 / length**2 * gaps)


def squared_octaves(values: Array, axis: Array) -> Array:
    """Squared distance in octaves between values, clipped to the axis's range, and its points."""
    clipped = np.clip(values, axis[0], axis[-1])
    return (np.log2(clipped)[:, None] - np.log2(axis)[None, :]) ** 2
