"""The data files of `zo2sim.cost.kernels`: fitted rooflines, corrections and hold-out errors as
JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from analysis.fits.kernels.fit import fit_residual, fit_roofline
from analysis.fits.kernels.table import SOURCE, KernelTable
from zo2sim.cost.kernels.model import HoldOut
from zo2sim.cost.kernels.residual import GridResidual
from zo2sim.cost.kernels.roofline import Rates
from zo2sim.cost.kernels.tables import WEIGHT_UNIT


class FittedKernel(NamedTuple):
    """What is stored of one kind of kernel; a class of devices has no correction."""

    roofline: Any
    residual: GridResidual | None
    errors: Mapping[str, HoldOut]


def fit_kernel(table: KernelTable, errors: Mapping[str, HoldOut]) -> FittedKernel:
    """Roofline and correction fitted to all rows, beside errors found by holding rows out."""
    roofline = fit_roofline([table])
    return FittedKernel(roofline, fit_residual(table, roofline), errors)


def file_text(name: str, rates: Rates | None, gemm: FittedKernel, attention: FittedKernel) -> str:
    """A data file; ``rates`` None for a class, whose rates each device brings."""
    content = {
        "name": name,
        "source": SOURCE,
        "rates": None if rates is None else asdict(rates),
        "gemm": _kernel(gemm),
        "attention": _kernel(attention),
    }
    return json.dumps(content, indent=1) + "\n"


def _kernel(kernel: FittedKernel) -> dict[str, Any]:
    return {
        "errors": {region: asdict(errors) for region, errors in kernel.errors.items()},
        "roofline": asdict(kernel.roofline),
        "residual": None if kernel.residual is None else _residual(kernel.residual),
    }


def _residual(residual: GridResidual) -> dict[str, Any]:
    planes = np.rint(residual.weights / WEIGHT_UNIT).astype(np.int64)
    return {
        "axes": [[int(value) for value in axis] for axis in residual.axes],
        "components": [component._asdict() for component in residual.components],
        "weights": [" ".join(str(weight) for weight in plane.ravel()) for plane in planes],
    }
