"""What the noise tests share: stored weights of every format, and updates."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zo2rt.noise import Draw, Extent, Update, reference
from zo2rt.noise.extent import Distribution
from zo2rt.noise.rounding import narrow, widen
from zo2sim.dtypes import Dtype

FORMATS = (Dtype.FP32, Dtype.FP16, Dtype.BF16)
KINDS: tuple[Distribution, ...] = ("gaussian", "rademacher")
KEY = 0xFEDCBA9876543210
_EDGES = (0.0, -0.0, 6e-8, 2e-8, -6.1e-5, 6.1035e-5, 65504.0, 65519.9, -3e4, 1e-40, -1e-42, 3e38)


def stored(dtype: Dtype, count: int, seed: int = 0) -> NDArray[Any]:
    """Weights over many magnitudes, the formats' edges first: float32, float16, uint16 (bf16)."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(count) * 10.0 ** rng.integers(-9, 5, count)
    values[: len(_EDGES)] = _EDGES[:count]
    return narrow(values.astype(np.float32), dtype)


def same_bits(left: NDArray[Any], right: NDArray[Any]) -> bool:
    """Equal in every bit, signs of zeros included."""
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


def update_of(step: int, samples: int, *, lr: float = 1e-2, weight_decay: float = 0.1) -> Update:
    """An update with keys and gradients that depend on step and sample."""
    return Update(
        draws=tuple(
            Draw(key=(KEY + 977 * step + i) % 2**64, g=1.7 * (-0.6) ** i + 0.1 * step)
            for i in range(samples)
        ),
        lr=lr,
        weight_decay=weight_decay,
    )


def still(samples: int, *, lr: float = 1e-2, weight_decay: float = 0.0) -> Update:
    """An update whose gradients are all zero."""
    moving = update_of(0, samples, lr=lr, weight_decay=weight_decay)
    return replace(moving, draws=tuple(replace(draw, g=0.0) for draw in moving.draws))


def perturbed(
    theta: NDArray[Any],
    dtype: Dtype,
    place: Extent,
    kind: Distribution,
    *,
    coefficient: float = 1e-3,
) -> NDArray[Any]:
    """What the reference says that W is."""
    exact = reference.perturbed(
        widen(theta, dtype), place, key=KEY, coefficient=coefficient, kind=kind
    )
    return narrow(exact, dtype)
