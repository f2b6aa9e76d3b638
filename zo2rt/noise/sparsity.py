"""Thresholds of Sparse-MeZO (arXiv:2402.15751), computed once from the weights, before training.

A threshold is a weight's own magnitude, chosen by rank and not interpolated, so it does not depend
on summation order, library or machine. Save the result with the run: trained weights would give
other thresholds.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zo2rt.noise.buffers import Buffer, bits
from zo2rt.noise.rounding import widen
from zo2sim.dtypes import Dtype

_CHUNK = 2**20


def thresholds(parameters: Mapping[str, Buffer], sparsity: float) -> dict[str, float]:
    """By name, the threshold of every parameter; exact in fp32, in the order given.

    ``sparsity``, in 0 .. 1 without 1, is the part of a parameter that is left as it is: of n
    weights, n - floor(sparsity n) have a magnitude up to the threshold, or more of them where
    others equal it. The decimal digits of ``sparsity`` count, so 0.29 of 100 weights are 29. Zero
    means dense: every threshold is infinity, and weights may grow. The weights are on the CPU;
    working memory is constant. A parameter that is empty, or whose threshold would be NaN or
    infinite, is refused by name.
    """
    if not 0.0 <= sparsity < 1.0:
        raise ValueError(f"sparsity must be in 0 .. 1, and less than 1; got {sparsity!r}")
    if sparsity == 0.0:
        return dict.fromkeys(parameters, math.inf)
    return {name: _threshold(name, weights, sparsity) for name, weights in parameters.items()}


def _threshold(name: str, weights: Buffer, sparsity: float) -> float:
    raw, dtype = bits(weights)
    num_trained = raw.size - math.floor(Fraction(str(sparsity)) * raw.size)
    if num_trained == 0:
        raise ValueError(f"{name} must have weights for a threshold; it is empty")
    magnitude = _of_rank(raw, num_trained - 1)
    pattern = np.array([magnitude], dtype=raw.dtype)
    stored = pattern if dtype is Dtype.BF16 else pattern.view(f"f{dtype.bytes}")
    threshold = float(widen(stored, dtype)[0])
    if not math.isfinite(threshold):
        raise ValueError(
            f"{name} must have more finite weights: {num_trained} of {raw.size} are to be trained, "
            f"and the largest of them is {threshold}"
        )
    return threshold


def _of_rank(raw: NDArray[Any], rank: int) -> int:
    """Bits of the magnitude that ``rank`` others precede; magnitudes are ordered as their bits are.

    Found 16 bits at a time, the high ones first, by counting what continues those found so far.
    """
    found = 0
    for shift in range(8 * raw.itemsize - 16, -1, -16):
        counts = _continuations(raw, found, shift)
        up_to = np.cumsum(counts)
        half = int(np.searchsorted(up_to, rank, side="right"))
        rank -= int(up_to[half] - counts[half])
        found |= half << shift
    return found


def _continuations(raw: NDArray[Any], found: int, shift: int) -> NDArray[np.int64]:
    """How many magnitudes have the high bits of ``found`` and, at ``shift``, each 16-bit value."""
    no_sign = raw.dtype.type(2 ** (8 * raw.itemsize - 1) - 1)
    counts = np.zeros(2**16, dtype=np.int64)
    for start in range(0, raw.size, _CHUNK):
        halves = (raw[start : start + _CHUNK] & no_sign).astype(np.int64) >> shift
        matching = halves[halves >> 16 == found >> shift >> 16]
        counts += np.bincount(matching & 0xFFFF, minlength=2**16)
    return counts
