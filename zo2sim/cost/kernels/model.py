"""Kernel times of one device: a roofline, corrected by measured tables where there are any."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from zo2sim.cost.kernels.attention import TABLE_HEAD_DIM, AttentionRoofline, AttentionShape, Mask
from zo2sim.cost.kernels.gemm import GemmRoofline, gemm_flops
from zo2sim.cost.kernels.residual import Flags, GridResidual
from zo2sim.cost.kernels.roofline import Array, Rates, smooth_maximum
from zo2sim.cost.kernels.shapes import over_distinct, positive
from zo2sim.dtypes import Dtype

R = TypeVar("R")

LARGE_EDGE = 8192.0
"""Rows and columns of the product that stands for large ones."""
POWER = 3.0
"""Of the mean that stands for a smooth maximum. Llama-2-7B on A100 modules of 275 W, with 128 to
16384 tokens a pass (huggingface/optimum-benchmark at 52ea94d), is met within 10 % by 2.5 to 4."""
_LEVELLINGS = 6  # memory's share of the large product makes each a little short


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
    device's peak arithmetic. ``measured`` says that the rates are those of the measured device.
    ``slowdown`` is how much longer arithmetic takes than in the measured bursts: it lengthens what
    arithmetic binds, and nothing that memory or launches do. ``long_flops_per_s`` is what power and
    heat allow in long work: a kernel that would be much faster runs at that rate, a less efficient
    one draws less and loses less (`long_work_s`).
    """

    name: str
    source: str
    measured: bool
    rates: Rates
    gemm: Kernel[GemmRoofline]
    attention: Kernel[AttentionRoofline]
    slowdown: float = 1.0
    long_flops_per_s: float = inf

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
        """The same model with arithmetic as much slower, or faster, as its largest product is.

        A product of matrices of `LARGE_EDGE` then reaches ``flops_per_s``. A device that reaches
        more than its nominal peak has that for a peak.
        """
        peak = replace(self.rates, flops_per_s=max(flops_per_s, self.rates.flops_per_s))
        model, wanted_s = replace(self, rates=peak), 2.0 * LARGE_EDGE**3 / flops_per_s
        for _ in range(_LEVELLINGS):
            slower = wanted_s / model.large_gemm_s
            model = replace(model, slowdown=model.slowdown * slower)
        return model

    def in_long_work(self, ratio: float) -> "KernelModel":
        """The same model where its large product reaches ``ratio`` of what it does in a burst."""
        burst = 2.0 * LARGE_EDGE**3 / self.large_gemm_s
        if ratio >= 1.0:
            return self.with_large_gemm(burst * ratio)
        allowed = burst * (ratio**-POWER - 1.0) ** (-1.0 / POWER)
        return replace(self, long_flops_per_s=allowed)

    def long_work_s(self, burst_s: Array, flops: Array) -> Array:
        """Between the longer of both and their sum: the clock falls before its limit is reached."""
        if self.long_flops_per_s == inf:
            return burst_s
        return smooth_maximum((burst_s, flops / self.long_flops_per_s), POWER - 1.0)

    @property
    def large_gemm_s(self) -> float:
        """Seconds of the product that stands for large ones."""
        return self.gemm_s(LARGE_EDGE, LARGE_EDGE, LARGE_EDGE)

    @property
    def arithmetic(self) -> Rates:
        """Rates at which kernels compute."""
        return replace(self.rates, flops_per_s=self.rates.flops_per_s / self.slowdown)

    @property
    def provenance(self) -> str:
        """Where the times come from, with the errors on what was kept out of the fit."""
        kind = "measured device" if self.measured else "scaled by peak rates, not measured"
        if self.slowdown != 1.0:
            kind += f", arithmetic {self.slowdown:.2f} times as long"
        if self.long_flops_per_s < inf:
            kind += ", at the clocks of long work"
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
        seconds = model.gemm.roofline.time_s(m, n, k, model.arithmetic)
        seconds = _corrected(seconds, model.gemm.residual, (m, n, k))
        flops = gemm_flops(m, n, k)
        return model.long_work_s(np.maximum(seconds, flops / model.rates.flops_per_s), flops)

    return over_distinct(flat_s, sizes)


def _attention_s(model: KernelModel, mask: Mask, sizes: Sequence[Array]) -> float | Array:
    def flat_s(*flat: Array) -> Array:
        shape = AttentionShape(mask, *flat)
        seconds = model.attention.roofline.time_s(shape, model.arithmetic)
        seconds = _corrected(seconds, model.attention.residual, shape.place)
        burst_s = np.maximum(seconds, shape.flops / model.rates.flops_per_s)
        return model.long_work_s(burst_s, shape.flops)

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
