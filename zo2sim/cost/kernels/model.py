"""Kernel times of one device: a roofline, corrected by measured tables where there are any."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from zo2sim.cost.kernels.attention import TABLE_HEAD_DIM, AttentionRoofline, AttentionShape, Mask
from zo2sim.cost.kernels.gemm import GemmRoofline, gemm_flops
from zo2sim.cost.kernels.residual import Flags, GridResidual
from zo2sim.cost.kernels.roofline import Array, Rates
from zo2sim.cost.kernels.shapes import over_distinct, positive
from zo2sim.dtypes import Dtype

R = TypeVar("R")

LARGE_EDGE = 8192.0
"""Rows and columns of the product that stands for large ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOut:
    """Relative error on shapes kept out of the fit; ``log_sigma`` is the robust spread.

    The spread is 1.4826 x the median absolute error of log time, a standard deviation where
    errors are normal; outliers (interrupted or throttled measurements) do not widen it.
    ``level`` is the device's median log(predicted / measured) over all shapes, and the shape
    errors are what remains once it is taken out: what a device's own clocks would not explain.
    """

    count: int
    median: float
    p90: float
    log_sigma: float
    level: float
    shape_median: float
    shape_p90: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kernel(Generic[R]):
    """One kind of kernel: its roofline, the correction to it, and its errors out of sample.

    ``errors`` are by region of shapes: ``main``, ``large`` (if measured) and ``all``
    (`analysis.fits.kernels.validation`).
    """

    roofline: R
    residual: GridResidual | None
    errors: Mapping[str, HoldOut]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelModel:
    """Times of half-precision matrix kernels on one device; fp16 takes what bf16 takes.

    Shapes are numbers or arrays that broadcast against each other; numbers give a ``float``,
    arrays an array. Sizes must be finite and > 0, else ``ValueError``. No prediction beats the
    device's peak arithmetic. ``measured`` says that the rates are those of the measured device;
    ``gemm_slowdown`` is the time of its products over that of the model's own.
    """

    name: str
    source: str
    measured: bool
    rates: Rates
    gemm: Kernel[GemmRoofline]
    attention: Kernel[AttentionRoofline]
    gemm_slowdown: float = 1.0

    @overload
    def gemm_s(self, m: float, n: float, k: float) -> float: ...
    @overload
    def gemm_s(self, m: ArrayLike, n: ArrayLike, k: ArrayLike) -> float | Array: ...
    def gemm_s(self, m: ArrayLike, n: ArrayLike, k: ArrayLike) -> float | Array:
        """Seconds of C[m, n] = A[m, k] B[k, n]; m is the number of tokens."""
        if isinstance(m, int | float) and isinstance(n, int | float) and isinstance(k, int | float):
            return _gemm_once(self, m, n, k)
        return _gemm_s(self, positive(m=m, n=n, k=k))

    def attention_s(  # noqa: PLR0913 - the arguments of the kernel
        self,
        batch: ArrayLike,
        seq: ArrayLike,
        heads: ArrayLike,
        kv_heads: ArrayLike,
        head_dim: ArrayLike,
        *,
        causal: bool = True,
        window: float | None = None,
    ) -> float | Array:
        """Seconds of fused attention over whole sequences; ``window`` None is unlimited.

        Fewer key-value heads than heads save memory traffic, not arithmetic.
        """
        mask = Mask(causal=causal, window=window)
        sizes = (batch, seq, heads, kv_heads, head_dim)
        if all(isinstance(size, int | float) for size in sizes):
            return _attention_once(self, mask, *sizes)
        return _attention_s(self, mask, _attention_sizes(*sizes))

    def gemm_extrapolated(
        self, m: ArrayLike, n: ArrayLike, k: ArrayLike, dtype: Dtype = Dtype.BF16
    ) -> bool | Flags:
        """Whether the time rests on more than a measured table: its device, dtype and range."""
        rows, columns, depth = positive(m=m, n=n, k=k)
        table = self.gemm.residual
        if not self._measured_in(dtype) or table is None:
            return _flags(np.ones(rows.shape, dtype=bool))
        return _flags(~table.covers(rows, columns, depth))

    def attention_extrapolated(  # noqa: PLR0913 - the arguments of the kernel
        self,
        batch: ArrayLike,
        seq: ArrayLike,
        heads: ArrayLike,
        kv_heads: ArrayLike,
        head_dim: ArrayLike,
        *,
        causal: bool = True,
        window: float | None = None,
        dtype: Dtype = Dtype.BF16,
    ) -> bool | Flags:
        """Like `gemm_extrapolated`; the tables hold causal multi-head attention, heads of 128."""
        mask = Mask(causal=causal, window=window)
        shape = AttentionShape(mask, *_attention_sizes(batch, seq, heads, kv_heads, head_dim))
        table = self.attention.residual
        if not (self._measured_in(dtype) and causal) or table is None:
            return _flags(np.ones(shape.seq.shape, dtype=bool))
        alike = (shape.head_dim == TABLE_HEAD_DIM) & (shape.kv_heads == shape.heads)
        unlimited = mask.reach >= shape.seq - 1
        return _flags(~(alike & unlimited & table.covers(*shape.place)))

    def with_rates(self, rates: Rates) -> "KernelModel":
        """The same efficiencies on a device of other peak rates: a sibling of the measured one."""
        return self if rates.near(self.rates) else replace(self, rates=rates, measured=False)

    def with_large_gemm(self, flops_per_s: float) -> "KernelModel":
        """The same model with products as much slower, or faster, as the largest one is.

        A product of matrices of `LARGE_EDGE` then reaches ``flops_per_s``, or the peak if lower.
        """
        reached = min(flops_per_s, self.rates.flops_per_s)
        own_s = self.gemm_s(LARGE_EDGE, LARGE_EDGE, LARGE_EDGE)
        slower = 2.0 * LARGE_EDGE**3 / reached / own_s
        return replace(self, gemm_slowdown=self.gemm_slowdown * slower)

    @property
    def provenance(self) -> str:
        """Where the times come from, with the errors on what was kept out of the fit."""
        kind = "measured device" if self.measured else "scaled by peak rates, not measured"
        if self.gemm_slowdown != 1.0:
            kind += ", products by a large one"
        gemm, attention = self.gemm.errors["main"], self.attention.errors["all"]
        return (
            f"{self.name} ({kind}); {self.source}; hold-out error, median and 90th percentile: "
            f"GEMM {gemm.median:.1%} and {gemm.p90:.1%}, "
            f"attention {attention.median:.1%} and {attention.p90:.1%}"
        )

    def _measured_in(self, dtype: Dtype) -> bool:
        return self.measured and dtype is Dtype.BF16


def _gemm_s(model: KernelModel, sizes: Sequence[Array]) -> float | Array:
    def flat_s(m: Array, n: Array, k: Array) -> Array:
        seconds = model.gemm.roofline.time_s(m, n, k, model.rates)
        seconds = _corrected(seconds, model.gemm.residual, (m, n, k)) * model.gemm_slowdown
        return np.maximum(seconds, gemm_flops(m, n, k) / model.rates.flops_per_s)

    return over_distinct(flat_s, sizes)


def _attention_s(model: KernelModel, mask: Mask, sizes: Sequence[Array]) -> float | Array:
    def flat_s(*flat: Array) -> Array:
        shape = AttentionShape(mask, *flat)
        seconds = model.attention.roofline.time_s(shape, model.rates)
        seconds = _corrected(seconds, model.attention.residual, shape.place)
        return np.maximum(seconds, shape.flops / model.rates.flops_per_s)

    return over_distinct(flat_s, sizes)


def _corrected(
    seconds: Array, residual: GridResidual | None, place: tuple[Array, Array, Array]
) -> Array:
    return seconds if residual is None else seconds * np.exp(residual(*place))


@lru_cache(maxsize=1 << 16)
def _gemm_once(model: KernelModel, m: float, n: float, k: float) -> float:
    return float(_gemm_s(model, positive(m=m, n=n, k=k)))


@lru_cache(maxsize=1 << 16)
def _attention_once(model: KernelModel, mask: Mask, *sizes: float) -> float:
    return float(_attention_s(model, mask, _attention_sizes(*sizes)))


def _attention_sizes(
    batch: ArrayLike, seq: ArrayLike, heads: ArrayLike, kv_heads: ArrayLike, head_dim: ArrayLike
) -> list[Array]:
    return positive(batch=batch, seq=seq, heads=heads, kv_heads=kv_heads, head_dim=head_dim)


def _flags(flags: Flags) -> bool | Flags:
    return bool(flags) if flags.shape == () else flags
