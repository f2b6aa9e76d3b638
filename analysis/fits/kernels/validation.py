"""How well kernel times are predicted for shapes, and for devices, that the fit has not seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.fits.kernels.fit import fit_residual, fit_roofline, predicted_s
from analysis.fits.kernels.table import KernelTable
from zo2sim.cost.kernels.model import HoldOut
from zo2sim.cost.kernels.roofline import Array

NUM_FOLDS = 5
FOLD_SEED = 0


def shape_log_errors(table: KernelTable, roofline: Any) -> Array:
    """Log error of every row, predicted by a fit that has seen no row of its pair of sizes.

    The roofline is fitted too, unless a class's is given.
    """
    fold = folds(table)
    errors = np.zeros(table.seconds.size)
    for number in np.unique(fold):
        errors[fold == number] = held_out_log_errors(table, fold == number, roofline)
    return errors


def held_out_log_errors(
    table: KernelTable, held_out: NDArray[np.bool_], roofline: Any = None
) -> Array:
    """Log errors of the rows held out, roofline and correction fitted to the other ones."""
    seen, unseen = table.rows(~held_out), table.rows(held_out)
    found = fit_roofline([seen]) if roofline is None else roofline
    predicted = predicted_s(unseen, found, fit_residual(seen, found))
    return np.log(predicted / unseen.seconds)


def device_log_errors(tables: Sequence[KernelTable]) -> dict[str, Array]:
    """Log errors per device, predicted by the roofline fitted to all other devices."""
    errors: dict[str, Array] = {}
    for table in tables:
        roofline = fit_class([other for other in tables if other.gpu != table.gpu])
        errors[table.gpu] = np.log(predicted_s(table, roofline, None) / table.seconds)
    return errors


def fit_class(tables: Sequence[KernelTable]) -> Any:
    """The roofline of all devices that have rows enough."""
    return fit_roofline([table for table in tables if not table.few])


def hold_outs(table: KernelTable, log_errors: Array) -> dict[str, HoldOut]:
    """Errors by region of shapes; the level is that of all of the device's rows."""
    return pooled([table], {table.gpu: log_errors})


def pooled(tables: Sequence[KernelTable], log_errors: Mapping[str, Array]) -> dict[str, HoldOut]:
    """Errors by region over the rows of all devices, each with a level of its own."""
    levels = {gpu: np.full(errors.size, np.median(errors)) for gpu, errors in log_errors.items()}

    def rows(of: Mapping[str, Array], region: str) -> Array:
        return np.concatenate([of[t.gpu][t.regions[region]] for t in tables if region in t.regions])

    regions = {region: None for table in tables for region in table.regions}
    return {region: summary(rows(log_errors, region), rows(levels, region)) for region in regions}


def summary(log_errors: Array, levels: Array) -> HoldOut:
    """Relative errors at the median and 90th percentile, and the robust spread of their log;
    the same without ``levels``, whose median is kept."""
    median, p90 = _relative(log_errors)
    shape_median, shape_p90 = _relative(log_errors - levels)
    return HoldOut(
        count=log_errors.size,
        median=median,
        p90=p90,
        log_sigma=round(1.4826 * float(np.median(np.abs(log_errors))), 5),
        level=round(float(np.median(levels)), 5),
        shape_median=shape_median,
        shape_p90=shape_p90,
    )


def _relative(log_errors: Array) -> tuple[float, float]:
    median, p90 = np.quantile(np.abs(np.expm1(log_errors)), [0.5, 0.9])
    return round(float(median), 5), round(float(p90), 5)


def folds(table: KernelTable) -> NDArray[np.int64]:
    """Fold of every row: pairs of sizes dealt at random, whole, with a fixed seed."""
    pair = table.pair
    num_pairs = int(pair.max()) + 1
    return np.random.default_rng(FOLD_SEED).permutation(num_pairs)[pair] % NUM_FOLDS
