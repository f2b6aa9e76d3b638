"""Compares the Triton kernels with the reference, interpreted; run by `test_noise_triton`."""

import itertools
import sys
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.noise_cases import FORMATS, KEY, KINDS, perturbed, record, same_bits, still, stored
from zo2rt.noise import Place, Record, reference
from zo2rt.noise.place import Kind
from zo2rt.noise.rounding import narrow, widen
from zo2rt.noise.triton_kernels import TritonNoise, device_records, device_table
from zo2sim.dtypes import Dtype

_TORCH = {Dtype.FP32: torch.float32, Dtype.FP16: torch.float16, Dtype.BF16: torch.bfloat16}
_PLACE = Place(p=9, first_element=2**35 - 77)
_COUNT = 1500
_RECORDS = [record(0, 1), record(1, 3), record(2, 2)]


def _tensor(weights: NDArray[Any], dtype: Dtype) -> torch.Tensor:
    return torch.from_numpy(weights.copy()).view(_TORCH[dtype])


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()


def _perturbs_equally(dtype: Dtype, kind: Kind) -> bool:
    theta = stored(dtype, _COUNT)
    out = torch.empty(_COUNT, dtype=_TORCH[dtype])
    noise = TritonNoise(kind=kind, table=device_table("cpu"))
    noise.perturb(out, _tensor(theta, dtype), _PLACE, key=KEY, coefficient=1e-3)
    return same_bits(_array(out), perturbed(theta, dtype, _PLACE, kind))


def _perturbs_both_ways_equally(dtype: Dtype, kind: Kind) -> bool:
    theta = stored(dtype, _COUNT)
    plus, minus = torch.empty(2, _COUNT, dtype=_TORCH[dtype])
    noise = TritonNoise(kind=kind, table=device_table("cpu"))
    noise.perturb_pair(plus, minus, _tensor(theta, dtype), _PLACE, key=KEY, coefficient=1e-3)
    return all(
        same_bits(_array(out), perturbed(theta, dtype, _PLACE, kind, coefficient=c))
        for out, c in ((plus, 1e-3), (minus, -1e-3))
    )


def _updates_equally(
    dtype: Dtype, kind: Kind, records: list[Record], *, rounding: bool = False
) -> bool:
    theta = stored(dtype, _COUNT)
    tensor = _tensor(theta, dtype)
    noise = TritonNoise(kind=kind, table=device_table("cpu"), stochastic_rounding=rounding)
    noise.update(tensor, _PLACE, records=device_records(records, "cpu"))
    expected = reference.updated(
        widen(theta, dtype), _PLACE, records, kind=kind, dtype=dtype, stochastic_rounding=rounding
    )
    return same_bits(_array(tensor), narrow(expected, dtype))


def main() -> None:
    """One line per comparison, ending in ``equal`` or ``different``."""
    np.seterr(all="ignore")  # the interpreter computes in numpy; 3e38 overflows fp16 as it should
    for dtype, kind in itertools.product(FORMATS, KINDS):
        results = {
            "perturb": _perturbs_equally(dtype, kind),
            "perturb both ways": _perturbs_both_ways_equally(dtype, kind),
            "update": _updates_equally(dtype, kind, _RECORDS),
            "update by nothing": _updates_equally(dtype, kind, [still(2)]),
            "update stochastically": _updates_equally(dtype, kind, _RECORDS, rounding=True),
        }
        for name, equal in results.items():
            sys.stdout.write(f"{dtype} {kind} {name}: {'equal' if equal else 'different'}\n")


if __name__ == "__main__":
    main()
