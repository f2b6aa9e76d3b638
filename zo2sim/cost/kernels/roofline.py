"""What both kernels share: peak rates, memory time with an L2 cache, and smooth maxima."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isclose, isfinite

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ELEMENT_BYTES = 2  # bf16 and fp16
SM_FLOPS_PER_S = 4e12  # of the SM that speeds are relative to, between an A100's and an H100's


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Peak rates of a device: dense half-precision arithmetic, device memory, and its SMs.

    ``num_sms`` None means unknown: work then divides evenly, without waves.
    """

    flops_per_s: float
    bytes_per_s: float
    num_sms: int | None

    def __post_init__(self) -> None:
        for field in ("flops_per_s", "bytes_per_s"):
            value = getattr(self, field)
            if not (isfinite(value) and value > 0):
                raise ValueError(f"{field} must be finite and > 0; got {value!r}")
        if self.num_sms is not None and self.num_sms < 1:
            raise ValueError(f"num_sms must be >= 1, or None if unknown; got {self.num_sms!r}")

    @property
    def sm_speed(self) -> float:
        """Arithmetic of one SM, relative to `SM_FLOPS_PER_S`; 1 if the count is unknown."""
        return 1.0 if self.num_sms is None else self.flops_per_s / self.num_sms / SM_FLOPS_PER_S

    def near(self, other: "Rates") -> bool:
        """Whether both are the same device's, up to the rounding of units."""
        return self.num_sms == other.num_sms and all(
            isclose(getattr(self, field), getattr(other, field), rel_tol=1e-9)
            for field in ("flops_per_s", "bytes_per_s")
        )


def memory_s(
    nbytes: Array, rates: Rates, *, overhead: float, l2_bytes: float, l2_speedup: float
) -> Array:
    """Time to move ``nbytes``: at the memory's rate, faster by ``1 + l2_speedup`` if L2 holds them.

    The share that misses grows smoothly around ``l2_bytes``. ``overhead`` is the time beyond the
    peak rate, relative to it.
    """
    miss = 1.0 / (1.0 + (l2_bytes / nbytes) ** 2)
    hit = (1.0 - miss) / (1.0 + l2_speedup)
    return nbytes / rates.bytes_per_s * (1.0 + overhead) * (miss + hit)


def smooth_maximum(times: Iterable[Array], sharpness: float) -> Array:
    """Between the maximum (large ``sharpness``) and the sum (0): how far the parts overlap."""
    power = 1.0 + sharpness
    parts = np.stack(np.broadcast_arrays(*(np.asarray(t, dtype=np.float64) for t in times)))
    top = parts.max(axis=0)
    return top * ((parts / top) ** power).sum(axis=0) ** (1.0 / power)
