"""Fit kernel times: a roofline by pattern search, then a robust Gaussian process on what is left.

Both are deterministic. The search only compares losses of parameters on a fixed lattice, and
weights are rounded, so the last bits of a processor's arithmetic do not reach the result.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import (  # pyright: ignore[reportMissingTypeStubs]
    cho_factor,  # pyright: ignore[reportUnknownVariableType]
    cho_solve,  # pyright: ignore[reportUnknownVariableType]
)

from analysis.fits.kernels.table import SOFTMAX_DEPTH, KernelTable
from zo2sim.cost.kernels.residual import GridResidual, correlation, squared_octaves
from zo2sim.cost.kernels.roofline import Array
from zo2sim.cost.kernels.tables import CLASS, WEIGHT_UNIT

STEPS = (0.4, 0.2, 0.1, 0.05)  # in the logarithm of a parameter
MAX_SWEEPS = 8  # per step
CORNER = 0.03  # log error below which the loss is quadratic
PRIOR = 3e-4  # pull towards the start, per squared log
DEGREES = 3.0  # of freedom of Student's t: how heavy the tails of measurements are
REWEIGHTINGS = 4


def fit_roofline(tables: Sequence[KernelTable]) -> Any:
    """The roofline of one device, or of several tables of equal weight.

    Minimises the mean absolute log error (rounded near 0), which a few outliers do not move.
    """
    start = tables[0].start(SOFTMAX_DEPTH[tables[0].gpu if len(tables) == 1 else CLASS])
    names = [field.name for field in dataclasses.fields(start)]
    origin = np.log([getattr(start, name) for name in names])

    def roofline(logs: Array) -> Any:
        values = (float(f"{value:.4g}") for value in np.exp(logs))
        return type(start)(**dict(zip(names, values, strict=True)))

    def loss(logs: Array) -> float:
        found = roofline(logs)
        error = np.mean([_robust_mean(_log_error(table, found)) for table in tables])
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
    """Gaussian process of log(measured / roofline), reweighted so that outliers count little."""
    axes, cells = _grid(table)
    covariance = _covariance(table, axes, cells)
    target = -_log_error(table, roofline)
    noise = np.full(target.size, table.noise_variance)
    weights = np.zeros(target.size)
    for _ in range(REWEIGHTINGS):
        weights = _solve(covariance, noise, target)
        error = noise * weights  # target minus posterior mean
        noise = table.noise_variance * (
            (DEGREES + error**2 / table.noise_variance) / (DEGREES + 1.0)
        )
    grid = np.zeros([axis.size for axis in axes])
    np.add.at(grid, cells, weights)
    grid = np.round(grid / WEIGHT_UNIT) * WEIGHT_UNIT
    return GridResidual(axes=axes, components=table.components, weights=grid)


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


def _covariance(
    table: KernelTable, axes: Sequence[Array], cells: Sequence[NDArray[np.intp]]
) -> Array:
    gaps = [squared_octaves(axis, axis) for axis in axes]
    total = np.zeros((table.seconds.size, table.seconds.size))
    for variance, lengths in table.components:
        part = np.full_like(total, variance)
        for gap, length, cell in zip(gaps, lengths, cells, strict=True):
            part *= correlation(gap, length)[np.ix_(cell, cell)]
        total += part
    return total


def _solve(covariance: Array, noise: Array, target: Array) -> Array:
    matrix = covariance + np.diag(noise)
    factor = cast(Any, cho_factor(matrix, overwrite_a=True, check_finite=False))
    solution = cast(Any, cho_solve(factor, target, check_finite=False))
    return np.asarray(solution, dtype=np.float64)


def _log_error(table: KernelTable, roofline: Any) -> Array:
    return np.log(table.roofline_s(roofline) / table.seconds)


def _robust_mean(error: Array) -> float:
    return float(np.mean(np.sqrt(error**2 + CORNER**2)))
