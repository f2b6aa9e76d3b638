"""Fit kernel times: a roofline by pattern search, then a robust Gaussian process on what is left.

Both are deterministic. The search only compares losses of parameters on a fixed lattice, the
process is solved in a fixed number of steps, and its values are rounded, so the last bits of a
processor's arithmetic do not reach the result.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.fits.kernels.table import SOFTMAX_DEPTH, Component, KernelTable, Rows
from zo2sim.cost.kernels.residual import GridResidual
from zo2sim.cost.kernels.roofline import Array
from zo2sim.cost.kernels.tables import CLASS, VALUE_UNIT

STEPS = (0.4, 0.2, 0.1, 0.05)  # in the logarithm of a parameter
MAX_SWEEPS = 8  # per step
CORNER = 0.03  # log error below which the loss is quadratic
PRIOR = 3e-4  # pull towards the start, per squared log
ROOFLINE_ROWS = 1200  # drawn from a larger table
DEGREES = 1.0  # of freedom of Student's t: how heavy the tails of measurements are
REWEIGHTINGS = 3
SOLVER_STEPS = 200  # of conjugate gradients, per reweighting


def fit_roofline(tables: Sequence[KernelTable]) -> Any:
    """The roofline of one device, or of several tables of equal weight.

    Minimises the mean absolute log error (rounded near 0), which a few outliers do not move.
    """
    alone = len(tables) == 1
    start = tables[0].start(SOFTMAX_DEPTH[tables[0].gpu if alone else CLASS])
    names = [field.name for field in dataclasses.fields(start)]
    if alone:  # a power of an SM's rate needs several devices
        names = [name for name in names if not name.endswith("_power")]
    origin = np.log([getattr(start, name) for name in names])
    drawn = [_drawn(table) for table in tables]

    def roofline(logs: Array) -> Any:
        values = (float(f"{value:.4g}") for value in np.exp(logs))
        return dataclasses.replace(start, **dict(zip(names, values, strict=True)))

    def loss(logs: Array) -> float:
        found = roofline(logs)
        error = np.mean([_robust_mean(_log_error(table, found)) for table in drawn])
        return float(error + PRIOR * np.sum((logs - origin) ** 2))

    return roofline(pattern_search(loss, origin))


def pattern_search(loss: Callable[[Array], float], start: Array) -> Array:
    """A local minimum by steps along each coordinate, halved when none of them helps."""
    place, best = start, loss(start)
    for step in STEPS:
        for _ in range(MAX_SWEEPS):
            before = best
            for axis in range(start.size):
                for sign in (1.0, -1.0):
                    trial = place.copy()
                    trial[axis] += sign * step
                    value = loss(trial)
                    if value < best:
                        place, best = trial, value
            if best == before:
                break
    return place


def fit_residual(table: KernelTable, roofline: Any) -> GridResidual:
    """Posterior mean of a Gaussian process of log(measured / roofline), at every point of a grid.

    Rasmussen and Williams, Gaussian Processes for Machine Learning, equation 2.25. Noise has
    Student's t distribution, by reweighting, so that outliers count little.
    """
    axes, cells = _grid(table)
    measured = np.zeros([axis.size for axis in axes], dtype=bool)
    target = np.zeros(measured.shape)
    measured[cells], target[cells] = True, -_log_error(table, roofline)
    covariance = partial(_covariance, _factors(table.components, axes))
    noise = np.full(target.shape, table.noise_variance)
    weights = np.zeros(target.shape)
    for _ in range(REWEIGHTINGS + 1):
        weights = _solve(covariance, noise, target, weights, measured)
        error = noise * weights  # target minus posterior mean
        noise = table.noise_variance * (
            (DEGREES + error**2 / table.noise_variance) / (DEGREES + 1.0)
        )
    values = np.rint(covariance(weights) / VALUE_UNIT) * VALUE_UNIT
    return GridResidual(axes=axes, values=values)


def predicted_s(table: KernelTable, roofline: Any, residual: GridResidual | None) -> Array:
    """Seconds of every row of the table."""
    seconds = table.roofline_s(roofline)
    return seconds if residual is None else seconds * np.exp(residual(*table.place))


def _grid(
    table: KernelTable,
) -> tuple[tuple[Array, Array, Array], tuple[NDArray[np.intp], ...]]:
    """Axes of the grid, and the cell of every row on each of them."""
    (x, i), (y, j), (z, k) = (np.unique(p, return_inverse=True) for p in table.place)
    return (x, y, z), (i, j, k)


def _factors(components: Sequence[Component], axes: Sequence[Array]) -> list[list[Array]]:
    """Matrices of every component, one per axis, the variance in the first."""
    found = [
        [c.correlation(axis, length) for axis, length in zip(axes, c.lengths, strict=True)]
        for c in components
    ]
    for component, factors in zip(components, found, strict=True):
        factors[0] = factors[0] * component.variance
    return found


def _covariance(factors: Sequence[Sequence[Array]], weights: Array) -> Array:
    """Covariance of all points of the grid times weights there: a product over the axes."""
    total = np.zeros_like(weights)
    for a, b, c in factors:
        total += np.tensordot(a, b @ (weights @ c), axes=1)
    return total


def _solve(
    covariance: Callable[[Array], Array], noise: Array, target: Array, start: Array, measured: Rows
) -> Array:
    """Weights with covariance(weights) + noise weights = target where measured, 0 elsewhere.

    Conjugate gradients in the scaled unknown sqrt(noise) weights, from ``start``.
    """
    scale = measured / np.sqrt(noise)

    def system(unknown: Array) -> Array:
        return scale * covariance(scale * unknown) + unknown

    unknown = start * np.sqrt(noise)
    rest = scale * target - system(unknown)
    direction, size = rest, float(np.sum(rest**2))
    solved = np.finfo(np.float64).eps ** 2 * size
    for _ in range(SOLVER_STEPS):
        if size <= solved:
            break
        image = system(direction)
        step = size / float(np.sum(direction * image))
        unknown, rest = unknown + step * direction, rest - step * image
        before, size = size, float(np.sum(rest**2))
        direction = rest + size / before * direction
    return scale * unknown


def _drawn(table: KernelTable) -> Any:
    """Rows that stand for a large table."""
    count = table.seconds.size
    if count <= ROOFLINE_ROWS:
        return table
    chosen = np.random.default_rng(0).permutation(count) < ROOFLINE_ROWS
    return table.rows(chosen)


def _log_error(table: KernelTable, roofline: Any) -> Array:
    return np.log(table.roofline_s(roofline) / table.seconds)


def _robust_mean(error: Array) -> float:
    return float(np.mean(np.sqrt(error**2 + CORNER**2)))
