"""Time of C[m, n] = A[m, k] B[k, n] from tiles, waves and memory, before any table corrects it."""

from dataclasses import dataclass

import numpy as np

from zo2sim.cost.kernels.roofline import ELEMENT_BYTES, Array, Rates, memory_s, smooth_maximum

SMALLEST_TILE = 64  # rows or columns; a thinner product still occupies a tile of this size


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmRoofline:
    """A library that picks the fastest of four tile shapes, or splits the work evenly.

    Tiles run in waves of one per SM, and a wave costs the same whether it is full or not (wave
    quantisation; NVIDIA, Matrix Multiplication Background User's Guide, sections 3-5).
    ``setup_depth`` is the prologue and epilogue of a tile, in columns of k. Overheads are times
    beyond the peak rate, relative to it. `analysis.fits.kernels.fit` fits every number.
    """

    launch_s: float
    setup_depth: float
    overhead_128x256: float
    overhead_256x128: float
    overhead_128x128: float
    overhead_64x128: float
    split_overhead: float
    memory_overhead: float
    l2_bytes: float
    l2_speedup: float
    sharpness: float

    def time_s(self, m: Array, n: Array, k: Array, rates: Rates) -> Array:
        """Seconds; shapes broadcast, and are positive."""
        nbytes = ELEMENT_BYTES * (m * k + k * n + m * n)
        moving_s = memory_s(
            nbytes,
            rates,
            overhead=self.memory_overhead,
            l2_bytes=self.l2_bytes,
            l2_speedup=self.l2_speedup,
        )
        computing_s = self._compute_s(m, n, k + self.setup_depth, rates)
        return self.launch_s + smooth_maximum((computing_s, moving_s), self.sharpness)

    def _compute_s(self, m: Array, n: Array, depth: Array, rates: Rates) -> Array:
        rows, columns = np.maximum(m, SMALLEST_TILE), np.maximum(n, SMALLEST_TILE)
        areas = [
            rows * columns * (1 + self.split_overhead),
            _wave_area(m, n, 128, 256, rates) * (1 + self.overhead_128x256),
            _wave_area(m, n, 256, 128, rates) * (1 + self.overhead_256x128),
            _wave_area(m, n, 128, 128, rates) * (1 + self.overhead_128x128),
            _wave_area(m, n, 64, 128, rates) * (1 + self.overhead_64x128),
        ]
        return 2.0 * np.minimum.reduce(areas) * depth / rates.flops_per_s


def gemm_flops(m: Array, n: Array, k: Array) -> Array:
    """Multiplications and additions."""
    return 2.0 * m * n * k


def _wave_area(m: Array, n: Array, rows: int, columns: int, rates: Rates) -> Array:
    """Elements of C that the device has room for in the waves that the tiles take."""
    tiles = np.ceil(m / rows) * np.ceil(n / columns)
    if rates.num_sms is not None:
        tiles = np.ceil(tiles / rates.num_sms) * rates.num_sms
    return tiles * rows * columns
