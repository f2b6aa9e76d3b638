"""The specification in numpy: short, slow, and the judge of every kernel.

Values are fp32 arrays; `zo2rt.noise.rounding` takes them to and from the storage formats.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from zo2rt.noise.extent import Distribution, Extent, check_kind
from zo2rt.noise.rounding import nearest, stochastic
from zo2rt.noise.table import quantiles
from zo2rt.noise.updates import Update
from zo2sim.dtypes import Dtype

Values = NDArray[np.float32]

NOISE = 0
"""Counter word 3 of noise."""
ROUNDING = 1
"""Counter word 3 of stochastic rounding."""

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)


def words(key: int, p: int, calls: NDArray[np.uint64], *, word3: int = NOISE) -> NDArray[np.uint32]:
    """Philox4x32-10 at the given calls j: (len(calls), 4) words."""
    constant = [np.full_like(calls, value) for value in (p, word3)]
    c0, c1, c2, c3 = calls & _LOW, calls >> _HALF, *constant
    for r in range(10):
        k0, k1 = (
            np.uint64((half + r * weyl) % 2**32)
            for half, weyl in zip((key % 2**32, key >> 32), _WEYL, strict=True)
        )
        a, b = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (b >> _HALF) ^ c1 ^ k0, b & _LOW, (a >> _HALF) ^ c3 ^ k1, a & _LOW
    return np.stack((c0, c1, c2, c3), axis=1).astype(np.uint32)


def halves(key: int, place: Extent, count: int, *, word3: int = NOISE) -> NDArray[np.uint16]:
    """The 16-bit half of each of ``count`` elements."""
    chosen, e = _words_of(key, place, count, per_call=8, word3=word3)
    word = chosen[np.arange(count), e % 8 // 2]
    return (word >> (16 * (e % 2)).astype(np.uint32)).astype(np.uint16)


def noise(key: int, place: Extent, count: int, kind: Distribution) -> Values:
    """z of ``count`` elements from ``place`` on."""
    check_kind(kind)
    if kind == "gaussian":
        return quantiles()[halves(key, place, count)]
    chosen, e = _words_of(key, place, count, per_call=128, word3=NOISE)
    word = chosen[np.arange(count), e % 128 // 32]
    bit = (word >> (e % 32).astype(np.uint32)) & np.uint32(1)
    return np.float32(1) - np.float32(2) * bit.astype(np.float32)


def _words_of(
    key: int, place: Extent, count: int, *, per_call: int, word3: int
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The four words of each element's call, and the element within its call."""
    e = np.uint64(place.first_element) + np.arange(count, dtype=np.uint64)
    calls, within = e // np.uint64(per_call), e % np.uint64(per_call)
    return words(key, place.p, calls, word3=word3), within.astype(np.int64)


def trained(theta: Values, place: Extent) -> NDArray[np.bool_]:
    """The weights that are perturbed and updated; the others stay."""
    return (np.abs(theta) <= np.float32(place.threshold)) | np.isinf(place.threshold)


def perturbed(
    theta: Values, place: Extent, *, key: int, coefficient: float, kind: Distribution
) -> Values:
    """theta + c z in fp32, not yet rounded to the format of W."""
    product: Values = np.float32(coefficient) * noise(key, place, theta.size, kind)
    return np.where(trained(theta, place), theta + product, theta)


def updated(
    theta: Values,
    place: Extent,
    updates: Iterable[Update],
    *,
    kind: Distribution,
    dtype: Dtype,
    stochastic_rounding: bool,
) -> Values:
    """theta after the updates, in order, rounded to ``dtype`` after each."""
    for update in updates:
        exact = _step(theta, place, update, kind)
        if stochastic_rounding:
            draws = halves(update.draws[0].key, place, theta.size, word3=ROUNDING)
            after = stochastic(exact, draws, dtype)
        else:
            after = nearest(exact, dtype)
        theta = np.where(trained(theta, place), after, theta)
    return theta


def _step(theta: Values, place: Extent, update: Update, kind: Distribution) -> Values:
    products: list[Values] = [
        np.float32(a) * noise(draw.key, place, theta.size, kind)
        for a, draw in zip(update.coefficients, update.draws, strict=True)
    ]
    s: Values = products[0]
    for product in products[1:]:
        s = s + product
    decayed: Values = theta * np.float32(update.decay)
    return decayed - s
