"""Compares the Triton kernels with the reference on a device; run by `test_noise_triton`.

The device is the argument: ``cpu`` where Triton interprets, else an accelerator's name.
"""

import itertools
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.zo2rt.noise.noise_cases import (
    FORMATS,
    KEY,
    KINDS,
    perturbed,
    same_bits,
    still,
    stored,
    update_of,
)
from zo2rt.noise import Extent, Prepared, Update, Updates, accelerator, reference
from zo2rt.noise.extent import Distribution
from zo2rt.noise.rounding import narrow, widen
from zo2sim.dtypes import Dtype

_DEVICE = sys.argv[1]
_TORCH = {Dtype.FP32: torch.float32, Dtype.FP16: torch.float16, Dtype.BF16: torch.bfloat16}
_PLACE = Extent(p=2**32 - 9, first_element=2**35 - 77)
_SPARSE = replace(_PLACE, threshold=1e-2)
_COUNT = 1500
_UPDATES = [update_of(0, 1), update_of(1, 3), update_of(2, 2)]


def _tensor(weights: NDArray[Any], dtype: Dtype) -> torch.Tensor:
    return torch.from_numpy(weights.copy()).view(_TORCH[dtype]).to(_DEVICE)


def _holds(tensor: torch.Tensor, expected: NDArray[Any]) -> bool:
    stored = tensor.cpu()
    if stored.dtype == torch.bfloat16:
        return same_bits(stored.view(torch.int16).numpy().view(np.uint16), expected)
    return same_bits(stored.numpy(), expected)


def _perturbs_equally(
    dtype: Dtype, kind: Distribution, coefficients: tuple[float, ...], place: Extent = _PLACE
) -> bool:
    """One W per coefficient, the first and its negative, from one launch."""
    theta = stored(dtype, _COUNT)
    outs = [_tensor(np.zeros_like(theta), dtype) for _ in coefficients]
    taken = accelerator.operands([*outs, _tensor(theta, dtype)], place, kind)
    accelerator.perturb(taken, key=KEY, coefficient=coefficients[0])
    expected = (perturbed(theta, dtype, place, kind, coefficient=c) for c in coefficients)
    return all(map(_holds, outs, expected))


def _updates_equally(
    dtype: Dtype,
    kind: Distribution,
    updates: list[Update],
    *,
    rounding: bool = False,
    place: Extent = _PLACE,
) -> bool:
    theta = stored(dtype, _COUNT)
    tensor = _tensor(theta, dtype)
    taken = accelerator.operands([tensor], place, kind)
    Prepared(accelerator, taken).update(Updates.of(updates), stochastic_rounding=rounding)
    expected = reference.updated(
        widen(theta, dtype), place, updates, kind=kind, dtype=dtype, stochastic_rounding=rounding
    )
    return _holds(tensor, narrow(expected, dtype))


def main() -> None:
    """One line per comparison, ending in ``equal`` or ``different``."""
    np.seterr(all="ignore")  # the interpreter computes in numpy; 3e38 overflows fp16 as it should
    for dtype, kind in itertools.product(FORMATS, KINDS):
        results = {
            "perturb": _perturbs_equally(dtype, kind, (1e-3,)),
            "perturb both ways": _perturbs_equally(dtype, kind, (1e-3, -1e-3)),
            "update": _updates_equally(dtype, kind, _UPDATES),
            "update by nothing": _updates_equally(dtype, kind, [still(2)]),
            "update stochastically": _updates_equally(dtype, kind, _UPDATES, rounding=True),
            "perturb, sparse": _perturbs_equally(dtype, kind, (1e-3,), _SPARSE),
            "perturb both ways, sparse": _perturbs_equally(dtype, kind, (1e-3, -1e-3), _SPARSE),
            "update, sparse": _updates_equally(dtype, kind, _UPDATES, place=_SPARSE),
            "update stochastically, sparse": _updates_equally(
                dtype, kind, _UPDATES, rounding=True, place=_SPARSE
            ),
        }
        for name, equal in results.items():
            sys.stdout.write(f"{dtype} {kind} {name}: {'equal' if equal else 'different'}\n")


if __name__ == "__main__":
    main()
