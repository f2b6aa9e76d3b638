"""How well kernel times are predicted for shapes, and for devices, that the fit has not seen."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.fits.kernels.fit import fit_residual, fit_roofline, predicted_s
from analysis.fits.kernels.table import KernelTable
from zo2sim.cost.kernels.model import HoldOut
from zo2sim.cost.kernels.roofline import Array

NUM_FOLDS = 5
FOLD_SEED = 0


def shape_log_errors(table: KernelTable) -> Array:
    """Log error of every row, predicted by a fit that has seen no row of its pair of sizes."""
    fold = folds(table)
    errors = np.zeros(table.seconds.size)
    for number in range(NUM_FOLDS):
        errors[fold == number] = held_out_log_errors(table, fold == number)
    return errors


def held_out_log_errors(table: KernelTable, held_out: NDArray[np.bool_]) -> Array:
    """Log errors of the rows held out, roofline and correction fitted to the other ones."""
    seen, unseen = table.rows(~held_out), table.rows(held_out)
    roofline = fit_roofline([seen])
    predicted = predicted_s(unseen, roofline, fit_residual(seen, roofline))
    return np.log(predicted / unseen.seconds)


def device_log_errors(tables: Sequence[KernelTable]) -> dict[str, Array]:
    """Log errors per device, predicted by the roofline fitted to all other devices."""
    errors: dict[str, Array] = {}
    for table in tables:
        roofline = fit_roofline([other for other in tables if other.gpu != table.gpu])
        errors[table.gpu] = np.log(predicted_s(table, roofline, None) / table.seconds)
    return errors


def hold_outs(table: KernelTable, log_errors: Array) -> dict[str, HoldOut]:
    """Errors by region of shapes."""
    return {region: summary(log_errors[rows]) for region, rows in table.regions.items()}


def pooled(tables: Sequence[KernelTable], log_errors: Mapping[str, Array]) -> dict[str, HoldOut]:
    """Errors by region over the rows of all devices."""
    return {
        region: summary(np.concatenate([log_errors[t.gpu][t.regions[region]] for t in tables]))
        for region in tables[0].regions
    }


def summary(log_errors: Array) -> HoldOut:
    """Relative errors at the median and 90th percentile, and the robust spread of their log."""
    relative = np.abs(np.expm1(log_errors))
    median, p90 = np.quantile(relative, [0.5, 0.9])
    return HoldOut(
        count=log_errors.size,
        median=round(float(median), 5),
        p90=round(float(p90), 5),
        log_sigma=round(1.4826 * float(np.median(np.abs(log_errors))), 5),
    )


def folds(table: KernelTable) -> NDArray[np.int64]:
    """Fold of every row: pairs of sizes dealt at random, whole, with a fixed seed."""
    pair = table.pair
    num_pairs = int(pair.max()) + 1
    return np.random.default_rng(FOLD_SEED).permutation(num_pairs)[pair] % NUM_FOLDS
