"""On the CPU: weights of any storage format, handed to the numba kernels.

The contract is that of `zo2rt.noise.devices`.
"""

from collections.abc import Sequence

import numpy as np

from zo2rt.noise import kernels
from zo2rt.noise.buffers import Buffer, bits
from zo2rt.noise.place import Kind, Place, check_kind
from zo2rt.noise.record import Record
from zo2rt.noise.table import quantiles
from zo2rt.noise.updates import flattened
from zo2sim.dtypes import Dtype

_CODES = {Dtype.FP32: kernels.FP32, Dtype.FP16: kernels.FP16, Dtype.BF16: kernels.BF16}


_PERTURB = {1: kernels.perturb, 2: kernels.perturb_pair}


def perturb(
    outs: Sequence[Buffer],
    theta: Buffer,
    place: Place,
    *,
    key: int,
    coefficient: float,
    kind: Kind,
) -> None:
    """W+ alone, or W+ and W- with one draw; allocates at most 40 KiB."""
    number = np.uint64(key), np.float32(coefficient)
    stored = map(_stored, (*outs, theta))
    _PERTURB[len(outs)](*stored, _source(place, kind), *number)


def update(
    theta: Buffer,
    place: Place,
    *,
    records: Sequence[Record],
    kind: Kind,
    stochastic_rounding: bool = False,
) -> None:
    """Every record in one pass; allocates 52 KiB."""
    source, updates = _source(place, kind), flattened(records)
    if updates.ends.size:
        kernels.update(_stored(theta), source, updates, stochastic_rounding)


def _stored(buffer: Buffer) -> kernels.Stored:
    raw, dtype = bits(buffer)
    return kernels.Stored(raw, _CODES[dtype])


def _source(place: Place, kind: Kind) -> kernels.Source:
    check_kind(kind)
    first, p = np.uint64(place.first_element), np.uint64(place.p)
    h = np.float32(place.threshold)
    return kernels.Source(first, p, quantiles(), kind == "gaussian", h)
