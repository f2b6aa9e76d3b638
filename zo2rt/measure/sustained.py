"""A large product of random matrices: its rate in a short run, and what long work leaves of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from time import perf_counter

import torch

from zo2rt.backends import Backend
from zo2rt.measure.on_device import span_s
from zo2rt.measure.timing import Work
from zo2rt.model.codec import TORCH_DTYPES
from zo2sim.dtypes import Dtype

_BURST_S = 0.03  # so short that neither power nor heat lowers the clock
_SPANS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeProduct:
    """Square matrices of ``size``, which the backend's device holds."""

    backend: Backend
    dtype: Dtype
    size: int
    work: Work

    @classmethod
    def of(cls, backend: Backend, dtype: Dtype, size: int) -> "LargeProduct":
        x, weight, out = (
            backend.device_buffer(dtype.bytes * size * size)
            .view(TORCH_DTYPES[dtype])
            .view(size, size)
            for _ in range(3)
        )
        x.normal_()
        weight.normal_()
        return cls(
            backend=backend,
            dtype=dtype,
            size=size,
            work=lambda: torch.mm(x, weight.t(), out=out),
        )

    @property
    def flops(self) -> float:
        """Of one product."""
        return 2.0 * float(self.size) ** 3

    def burst_s(self) -> list[float]:
        """Seconds of a product in short runs, after two that do not count."""
        count = self._count(_BURST_S)
        return [span_s(self.backend, self.work, count) / count for _ in range(_SPANS)]

    def windows_s(self, seconds: float, *, window_s: float) -> Iterator[float]:
        """Seconds of a product, in the mean of a window, one window after the other."""
        count, start_s = self._count(window_s), perf_counter()
        while perf_counter() - start_s < seconds:
            yield span_s(self.backend, self.work, count) / count

    def _count(self, seconds: float) -> int:
        span_s(self.backend, self.work, 1)
        return max(1, ceil(seconds / max(span_s(self.backend, self.work, 1), 1e-6)))
