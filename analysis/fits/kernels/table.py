"""Measured kernel times as tables: shapes, seconds, and how a roofline predicts them."""

import csv
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from zo2sim.cost.kernels.attention import (
    TABLE_HEAD_DIM,
    AttentionRoofline,
    AttentionShape,
    Mask,
)
from zo2sim.cost.kernels.gemm import GemmRoofline
from zo2sim.cost.kernels.roofline import Array, Rates

Rows = NDArray[np.bool_]

SOURCE = "NVIDIA AIConfigurator 095f58a (Apache-2.0), measured with vLLM 0.14.0 and 0.19.0"
LAYERS_SOURCE = "casys-kaist/LLMServingSim, profiler/perf/RTX4090; attention: class"

LAYERS_GPU = "rtx-4090-24gb"
LAYERS = {
    "qkv_proj": (6144, 4096),
    "o_proj": (4096, 4096),
    "gate_up_proj": (28672, 4096),
    "down_proj": (4096, 14336),
}
"""Sizes n and k of Llama-3.1-8B's products."""

TABLE_RATES = {
    "a100-sxm-80gb": Rates(flops_per_s=312e12, bytes_per_s=2.039e12, num_sms=108),
    "h100-sxm-80gb": Rates(flops_per_s=989e12, bytes_per_s=3.35e12, num_sms=132),
    "h200-sxm-141gb": Rates(flops_per_s=989e12, bytes_per_s=4.8e12, num_sms=132),
    "l40s-48gb": Rates(flops_per_s=362.05e12, bytes_per_s=0.864e12, num_sms=142),
    "rtx-4090-24gb": Rates(flops_per_s=165.2e12, bytes_per_s=1.008e12, num_sms=128),
    "rtx-pro-6000-96gb": Rates(flops_per_s=503.8e12, bytes_per_s=1.792e12, num_sms=188),
}
"""Data sheets of the measured devices, dense bf16."""

# FlashAttention-3 (arXiv:2407.08608, figure 5), forward, not causal, 16k keys, H100, TFLOP/s with
# heads of 64 and 128: 497 and 648 (FlashAttention-3), 324 and 370 (FlashAttention-2, which the
# other devices run). Time per pair is proportional to head_dim + depth, solved for depth.
SOFTMAX_DEPTH = {gpu: 56.0 if gpu.startswith("h") else 21.0 for gpu in (*TABLE_RATES, "class")}


class Component(NamedTuple):
    """Covariance of log time that falls with the distance along each axis of the grid.

    Lengths are in octaves (factors of two of the shape). ``rough`` falls exponentially, for what
    jumps where the library changes its choice; otherwise the fall is Gaussian.
    """

    variance: float
    lengths: tuple[float, float, float]
    rough: bool = False

    def correlation(self, axis: Array, length: float) -> Array:
        """Of the points of one axis with each other."""
        octaves = np.log2(axis)
        gaps = np.abs(octaves[:, None] - octaves[None, :]) / length
        return np.exp(-gaps if self.rough else -0.5 * gaps**2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelTable(ABC):
    """Measurements of one kind of kernel on one device; ``sizes`` are its shape's arguments."""

    gpu: str
    sizes: tuple[Array, ...]
    seconds: Array
    few: bool = False
    """Too few pairs of sizes for a roofline of its own; the device takes its class's."""

    components: ClassVar[tuple[Component, ...]]
    noise_variance: ClassVar[float]

    @property
    @abstractmethod
    def place(self) -> tuple[Array, Array, Array]:
        """Coordinates of each row in the grid of the correction."""

    @property
    @abstractmethod
    def pair(self) -> NDArray[np.int64]:
        """Number of the pair of sizes that is held out as a whole."""

    @property
    @abstractmethod
    def all_regions(self) -> dict[str, Rows]:
        """Rows by region of shapes."""

    @abstractmethod
    def start(self, depth: float) -> Any:
        """Roofline from which the search starts, and towards which it is regularised."""

    @abstractmethod
    def roofline_s(self, roofline: Any) -> Array:
        """Seconds of every row by the roofline alone, at the device's peak rates."""

    @property
    def regions(self) -> dict[str, Rows]:
        """Rows by region of shapes that errors are stated for: those with any."""
        return {name: rows for name, rows in self.all_regions.items() if np.any(rows)}

    @property
    def rates(self) -> Rates:
        return TABLE_RATES[self.gpu]

    def rows(self, chosen: Rows) -> Self:
        """The table of some rows."""
        sizes = tuple(size[chosen] for size in self.sizes)
        return replace(self, sizes=sizes, seconds=self.seconds[chosen])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GemmTable(KernelTable):
    """Sizes are m, n, k. Component lengths are octaves of them, chosen by cross-validation."""

    components: ClassVar = (
        Component(0.02, (0.6, 0.3, 2.0), rough=True),
        Component(0.02, (2.0, 2.0, 2.0)),
    )
    noise_variance: ClassVar = 0.001

    @property
    def place(self) -> tuple[Array, Array, Array]:
        m, n, k = self.sizes
        return m, n, k

    @property
    def pair(self) -> NDArray[np.int64]:
        _, n, k = self.sizes
        return _numbered(n, k)

    @property
    def all_regions(self) -> dict[str, Rows]:
        m, n, k = self.sizes
        return {
            "main": (m >= 128) & (n >= 2048) & (k >= 2048),
            "large": (m >= 2048) & (np.maximum(n, k) >= 12288),
            "all": np.ones(m.size, dtype=bool),
        }

    def start(self, depth: float) -> GemmRoofline:
        return GemmRoofline(
            launch_s=4e-6,
            setup_depth=200.0,
            split_depth=400.0,
            overhead_128x256=0.1,
            overhead_128x128=0.3,
            overhead_64x128=0.5,
            overhead_64x64=0.6,
            last_wave_overlap=2.0,
            overlap_power=1.0,
            idle_speedup=1.0,
            memory_overhead=0.25,
            l2_bytes=1.6e7,
            l2_speedup=1.0,
            sharpness=3.0,
        )

    def roofline_s(self, roofline: GemmRoofline) -> Array:
        return roofline.time_s(*self.place, self.rates)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionTable(KernelTable):
    """Sizes are batch, seq, heads (as many key-value heads), head_dim; causal, no window."""

    components: ClassVar = (
        Component(0.03, (2.0, 2.0, 6.0), rough=True),
        Component(0.03, (2.0, 2.0, 2.0)),
    )
    noise_variance: ClassVar = 0.001

    @property
    def place(self) -> tuple[Array, Array, Array]:
        return self._shape.place

    @property
    def pair(self) -> NDArray[np.int64]:
        _, seq, heads, _ = self.sizes
        return _numbered(seq, heads)

    @property
    def all_regions(self) -> dict[str, Rows]:
        _, seq, _, _ = self.sizes
        return {"long": seq >= 1024, "all": np.ones(seq.size, dtype=bool)}

    def start(self, depth: float) -> AttentionRoofline:
        return AttentionRoofline(
            launch_s=8e-6,
            overhead=0.8,
            row_keys=100.0,
            row_keys_power=0.5,
            longest_row_overhead=0.2,
            longest_row_power=0.5,
            memory_overhead=0.25,
            l2_bytes=4e7,
            l2_speedup=1.0,
            sharpness=0.5,
            softmax_depth=depth,
        )

    def roofline_s(self, roofline: AttentionRoofline) -> Array:
        return roofline.time_s(self._shape, self.rates)

    @property
    def _shape(self) -> AttentionShape:
        batch, seq, heads, head_dim = self.sizes
        return AttentionShape(Mask(), batch, seq, heads, heads, head_dim)


T = TypeVar("T", bound=KernelTable)


def read_gemm(path: Path) -> list[GemmTable]:
    """One table per device, from columns gpu, m, n, k, latency_us."""
    return _read(GemmTable, path, ("m", "n", "k"))


def read_attention(path: Path) -> list[AttentionTable]:
    """One table per device, from columns gpu, batch, seq, heads, head_dim, latency_us.

    Rows of heads other than `TABLE_HEAD_DIM` are left out: the correction knows that size only.
    """
    tables = _read(AttentionTable, path, ("batch", "seq", "heads", "head_dim"))
    return [table.rows(table.sizes[3] == TABLE_HEAD_DIM) for table in tables]


def read_layers(path: Path) -> GemmTable:
    """The products among a model's layers on one card, from columns layer, tokens, time_us."""
    with path.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["layer"] in LAYERS]
    n, k = (np.array([float(LAYERS[row["layer"]][side]) for row in rows]) for side in (0, 1))
    m, us = (np.array([float(row[name]) for row in rows]) for name in ("tokens", "time_us"))
    return GemmTable(gpu=LAYERS_GPU, sizes=(m, n, k), seconds=us * 1e-6, few=True)


def all_gemm(folder: Path) -> list[GemmTable]:
    """The tables of every device, from the folder's files; those of few rows come last."""
    found = [table for path in sorted(folder.glob("gemm_bf16*.csv")) for table in read_gemm(path)]
    return [*found, read_layers(folder / "rtx4090_llama31_8b_layers.csv")]


def all_attention(folder: Path) -> list[AttentionTable]:
    """The tables of every device, from the folder's files."""
    paths = sorted(folder.glob("attention_prefill_bf16*.csv"))
    return [table for path in paths for table in read_attention(path)]


def _read(kind: type[T], path: Path, columns: tuple[str, ...]) -> list[T]:
    with path.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        rows = list(reader)
    missing = {"gpu", *columns, "latency_us"} - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"{path.name} must have the columns {sorted(missing)}; it lacks them")
    devices = sorted({row["gpu"] for row in rows})
    if not set(devices) <= set(TABLE_RATES):
        raise ValueError(f"{path.name} must name devices of {list(TABLE_RATES)}; got {devices}")
    found: list[T] = []
    for gpu in devices:
        own = [row for row in rows if row["gpu"] == gpu]
        *sizes, us = (
            np.array([float(row[name]) for row in own]) for name in (*columns, "latency_us")
        )
        found.append(kind(gpu=gpu, sizes=tuple(sizes), seconds=us * 1e-6))
    return found


def _numbered(first: Array, second: Array) -> NDArray[np.int64]:
    pairs = np.stack([first, second], axis=1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
