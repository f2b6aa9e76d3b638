"""Kernels of an accelerator: matrix products, attention, noise passes and plain moves.

[Note: effective rates] Kernel times are not linear in a device's peak rates, but where one rate
binds they are inverse to it. So a row counts what the kernel model expects at the base machine's
rate, times that rate: the fit then gives the rate at which the model meets the measurement.
The rate of products is that of a large one where the base machine knows it; they are timed in
short runs, so the model expects what it does before long work lowers the clock.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from zo2rt.backends import Backend
from zo2rt.measure.noise import updates_of
from zo2rt.measure.timing import Bench, Work
from zo2rt.model.codec import TORCH_DTYPES
from zo2rt.noise import Distribution, Extent, perturb, update
from zo2sim.cost.kernels import KernelModel, for_dtype
from zo2sim.dtypes import Dtype
from zo2sim.machines.machine import Machine

_RECORDS = 16  # of one update: so many draws that memory does not bind
_HEAD_DIM = 128
LARGE, LARGE_FP32 = "device.gemm_flops_per_s", "device.fp32_gemm_flops_per_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is drawn from: rows and widths of products, sequences, heads, elements of passes."""

    rows: tuple[int, ...] = (256, 512, 1024, 2048, 4096)
    widths: tuple[int, ...] = (1024, 2048, 4096, 5120, 8192, 12288)
    sequences: tuple[int, ...] = (512, 1024, 2048, 4096)
    heads: tuple[int, ...] = (8, 16, 32)
    elements: tuple[int, ...] = (1 << 22, 1 << 24, 1 << 26)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBenches:
    """Benchmarks of one device; ``machine`` gives the rates that are to be corrected."""

    backend: Backend
    machine: Machine
    sizes: Sizes = Sizes()

    def gemms(self, dtype: Dtype, count: int, *, seed: int) -> Iterator[Bench]:
        """Products of random shapes, as linear layers have them."""
        draw, model = random.Random(seed), self._in_a_burst(dtype)
        key, rate = self._rate(dtype)
        for _ in range(count):
            m, n, k = (draw.choice(sizes) for sizes in (self.sizes.rows, *2 * (self.sizes.widths,)))
            yield Bench(
                group=f"gemm {dtype}",
                name=f"gemm {dtype} {m}x{n}x{k}",
                amounts={key: model.gemm_s(m, n, k) * rate},
                prepare=lambda m=m, n=n, k=k: self._gemm(dtype, m, n, k),
            )

    def attentions(self, dtype: Dtype, count: int, *, seed: int) -> Iterator[Bench]:
        """Causal attention. The cost model has no rate of its own for it: what comes out is how
        far attention is from the kernel model at the machine's rate."""
        draw, model = random.Random(seed), self._in_a_burst(dtype)
        for _ in range(count):
            seq, heads = draw.choice(self.sizes.sequences), draw.choice(self.sizes.heads)
            expected_s = model.attention_s(1, seq, heads, heads, _HEAD_DIM)
            yield Bench(
                group=f"attention {dtype}",
                name=f"attention {dtype} {seq}x{heads}",
                amounts={f"bench.attention_{dtype}_over_model": float(expected_s)},
                prepare=lambda seq=seq, heads=heads: self._attention(dtype, seq, heads),
            )

    def moves(self) -> Iterator[Bench]:
        """A read and a write of every byte."""
        for size in self.sizes.elements:
            yield Bench(
                group="move",
                name=f"move {size}",
                amounts={"device.memory_bytes_per_s": 2.0 * 4 * size, "bench.kernel_s": 1.0},
                prepare=lambda size=size: self._move(size),
            )

    def noise(self, dtypes: Sequence[Dtype]) -> Iterator[Bench]:
        """Updates of many records, where drawing binds, and perturbations, by what binds them."""
        for kind in get_args(Distribution):
            for dtype in dtypes:
                for size in self.sizes.elements:
                    for what, records in (("update", _RECORDS), ("perturb", 1)):
                        yield Bench(
                            group=f"{what} {kind}",
                            name=f"{what} {kind} {dtype} {size}",
                            amounts=self._pass_amounts(kind, dtype, size, records),
                            prepare=lambda a=(kind, dtype, size, records): self._pass(*a),
                        )
        for size in self.sizes.elements:
            yield Bench(
                group="torch noise",
                name=f"torch noise {size}",
                amounts={"device.torch_noise_elements_per_s": float(size), "bench.kernel_s": 1.0},
                prepare=lambda size=size: self._tensor(Dtype.FP32, size).normal_,
            )

    def small(self) -> Work:
        """A kernel that takes no time worth mentioning."""
        tensor = self._tensor(Dtype.FP32, 1).zero_()
        return lambda: tensor.add_(1.0)

    def _in_a_burst(self, dtype: Dtype) -> KernelModel:
        device = replace(self.machine.device, sustained_ratio=None)
        return for_dtype(replace(self.machine, device=device), dtype)

    def _rate(self, dtype: Dtype) -> tuple[str, float]:
        large = LARGE_FP32 if dtype is Dtype.FP32 else LARGE
        known = self.machine.quantities
        key = large if large in known else f"device.{dtype}_flops_per_s"
        return key, known[key].value

    def _pass_amounts(
        self, kind: Distribution, dtype: Dtype, size: int, records: int
    ) -> dict[str, float]:
        """What binds at the machine's rates: memory or drawing."""
        device = self.machine.device
        nbytes, draws = 2.0 * dtype.bytes * size, float(size * records)
        moving_s = nbytes / device.memory_bytes_per_s.value
        drawing_s = draws / device.noise_elements_per_s(kind).value
        key, amount = f"device.{kind}_noise_elements_per_s", draws
        if moving_s > drawing_s:
            key, amount = "device.memory_bytes_per_s", nbytes
        return {key: amount, "bench.kernel_s": 1.0}

    def _tensor(self, dtype: Dtype, *shape: int) -> Tensor:
        """Uninitialised, on the device."""
        nbytes = dtype.bytes
        for size in shape:
            nbytes *= size
        return self.backend.device_buffer(nbytes).view(TORCH_DTYPES[dtype]).view(shape)

    def _drawn(self, dtype: Dtype, *shape: int) -> Tensor:
        return self._tensor(dtype, *shape).normal_()

    def _gemm(self, dtype: Dtype, m: int, n: int, k: int) -> Work:
        x, weight = self._drawn(dtype, m, k), self._drawn(dtype, n, k).t()
        out = self._tensor(dtype, m, n)
        return lambda: torch.mm(x, weight, out=out)

    def _attention(self, dtype: Dtype, seq: int, heads: int) -> Work:
        q, k, v = (self._drawn(dtype, 1, heads, seq, _HEAD_DIM) for _ in range(3))
        return lambda: functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    def _move(self, size: int) -> Work:
        source, target = self._drawn(Dtype.FP32, size), self._tensor(Dtype.FP32, size)
        return lambda: target.copy_(source)

    def _pass(self, kind: Distribution, dtype: Dtype, size: int, records: int) -> Work:
        theta, place = self._drawn(dtype, size), Extent(p=3)
        if records > 1:
            updates = updates_of(records)
            return lambda: update(theta, place, updates=updates, kind=kind)
        out = self._tensor(dtype, size)
        return lambda: perturb(out, theta, place, key=5, coefficient=1e-3, kind=kind)
