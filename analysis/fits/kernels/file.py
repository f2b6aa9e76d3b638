"""The data files of `zo2sim.cost.kernels`: fitted rooflines, corrections and hold-out errors as
JSON."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.fits.kernels.fit import fit_residual, fit_roofline
from analysis.fits.kernels.table import LAYERS_GPU, LAYERS_SOURCE, SOURCE, KernelTable
from zo2sim.cost.kernels.model import HoldOut
from zo2sim.cost.kernels.residual import GridResidual
from zo2sim.cost.kernels.roofline import Rates
from zo2sim.cost.kernels.tables import VALUE_UNIT


class FittedKernel(NamedTuple):
    """What is stored of one kind of kernel; a class of devices has no correction."""

    roofline: Any
    residual: GridResidual | None
    errors: Mapping[str, HoldOut]


def fit_kernel(
    table: KernelTable, errors: Mapping[str, HoldOut], of_class: Any = None
) -> FittedKernel:
    """Roofline and correction fitted to all rows, beside errors found by holding rows out.

    A table of few rows corrects the roofline of its class.
    """
    roofline = of_class if table.few else fit_roofline([table])
    return FittedKernel(roofline, fit_residual(table, roofline), errors)


def digest(folder: Path) -> str:
    """SHA-256 of the measured tables, by which a data file names what it was fitted to."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.csv")):
        found.update(path.read_bytes())
    return found.hexdigest()


def file_text(
    name: str, inputs: str, rates: Rates | None, gemm: FittedKernel, attention: FittedKernel
) -> str:
    """A data file; ``rates`` None for a class, whose rates each device brings."""
    content = {
        "name": name,
        "source": LAYERS_SOURCE if name == LAYERS_GPU else SOURCE,
        "inputs": inputs,
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
    planes = np.rint(residual.values / VALUE_UNIT).astype(np.int64)
    return {
        "axes": [" ".join(str(int(value)) for value in axis) for axis in residual.axes],
        "values": [" ".join(str(value) for value in plane.ravel()) for plane in planes],
    }
