"""On the CPU: weights of any storage format, handed to the numba kernels.

The contract is that of `zo2rt.noise.devices.Prepared`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zo2rt.noise import kernels
from zo2rt.noise.buffers import Buffer, bits
from zo2rt.noise.extent import Distribution, Extent, check_kind
from zo2rt.noise.table import quantiles
from zo2rt.noise.updates import Updates
from zo2sim.dtypes import Dtype

_CODES = {Dtype.FP32: kernels.FP32, Dtype.FP16: kernels.FP16, Dtype.BF16: kernels.BF16}


_PERTURB = {1: kernels.perturb, 2: kernels.perturb_pair}


class Operands(NamedTuple):
    """What the kernels take of buffers and their place."""

    stored: tuple[kernels.Stored, ...]
    source: kernels.Source


def operands(buffers: Sequence[Buffer], place: Extent, kind: Distribution) -> Operands:
    """The buffers as raw bits, and what their noise depends on beside a key."""
    return Operands(tuple(map(_stored, buffers)), _source(place, kind))


def perturb(taken: Operands, *, key: int, coefficient: float) -> None:
    """W+ alone, or W+ and W- with one draw, from theta, which comes last; allocates at most
    40 KiB."""
    kernel = _PERTURB[len(taken.stored) - 1]
    kernel(*taken.stored, taken.source, np.uint64(key), np.float32(coefficient))


def update(taken: Operands, updates: Updates, *, stochastic_rounding: bool = False) -> None:
    """Every update in one pass over theta; allocates 52 KiB."""
    (theta,) = taken.stored
    kernels.update(theta, taken.source, updates, stochastic_rounding)


def _stored(buffer: Buffer) -> kernels.Stored:
    raw, dtype = bits(buffer)
    return kernels.Stored(raw, _CODES[dtype])


def _source(place: Extent, kind: Distribution) -> kernels.Source:
    check_kind(kind)
    first, p = np.uint64(place.first_element), np.uint64(place.p)
    h = np.float32(place.threshold)
    return kernels.Source(first, p, quantiles(), kind == "gaussian", h)
