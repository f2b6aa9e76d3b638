"""Time of C[m, n] = A[m, k] B[k, n] from tiles, waves and memory, before any table corrects it."""

from dataclasses import dataclass

import numpy as np

from zo2sim.cost.kernels.roofline import ELEMENT_BYTES, Array, Rates, memory_s, smooth_maximum

# Tiles of C that the library has kernels for.
_ROWS = np.array([128.0, 256.0, 128.0, 64.0, 128.0, 64.0])
_COLUMNS = np.array([256.0, 128.0, 128.0, 128.0, 64.0, 64.0])
_SPLITS = np.array([1.0, 2.0, 4.0])  # SMs that share a tile's depth


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmRoofline:
    """A library that picks the fastest of six tile shapes, each whole or with its depth split.

    Tiles run in waves of one per SM (NVIDIA, Matrix Multiplication Background User's Guide,
    sections 3-5). A last wave that is not full takes less time, down to ``1 / (1 + overlap)`` of a
    full one: later kernels, with tensor cores that outrun their start, overlap tiles better, so
    ``last_wave_overlap`` grows with the rate of an SM to the power ``overlap_power``. A device
    that is not full at all runs up to ``1 + idle_speedup`` times faster per tile. ``setup_depth``
    is the prologue and epilogue of a tile, ``split_depth`` what adding up its parts costs, both in
    columns of k. Overheads are times beyond the peak rate, relative to it.
    `analysis.fits.kernels.fit` fits every number.
    """

    launch_s: float
    setup_depth: float
    split_depth: float
    overhead_128x256: float
    overhead_128x128: float
    overhead_64x128: float
    overhead_64x64: float
    last_wave_overlap: float
    overlap_power: float
    idle_speedup: float
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
        computing_s = self._compute_s(m, n, k, rates)
        return self.launch_s + smooth_maximum((computing_s, moving_s), self.sharpness)

    def _compute_s(self, m: Array, n: Array, k: Array, rates: Rates) -> Array:
        """Of the fastest choice; without a count of SMs, work divides evenly and whole tiles win.

        The first axes are how the depth is split, and the tile's shape.
        """
        ones = (1,) * np.broadcast(m, n, k).ndim
        rows, columns = _ROWS.reshape(-1, *ones), _COLUMNS.reshape(-1, *ones)
        tiles = np.ceil(m / rows) * np.ceil(n / columns)
        tile_s = (self._tile_flops / rates.flops_per_s).reshape(-1, *ones)  # per column of k
        if rates.num_sms is None:
            return np.min(tiles * tile_s, axis=0) * (k + self.setup_depth)
        splits = _SPLITS.reshape(-1, 1, *ones)
        waves = self._waves(tiles * (splits / rates.num_sms), rates.sm_speed)
        wave_s = np.min(waves * (tile_s * rates.num_sms), axis=1)  # (split, points)
        splits = splits[:, 0]
        depth = k / splits + (self.setup_depth + self.split_depth * (splits > 1))
        return np.min(wave_s * depth, axis=0)

    @property
    def _tile_flops(self) -> Array:
        """Of every tile per column of k, overhead included."""
        large, small = self.overhead_128x256, self.overhead_64x128
        overheads = [large, large, self.overhead_128x128, small, small, self.overhead_64x64]
        return 2.0 * _ROWS * _COLUMNS * (1 + np.array(overheads))

    def _waves(self, waves: Array, sm_speed: float) -> Array:
        """Waves in time, of ``waves`` in work."""
        least = 1 / (1 + self.last_wave_overlap * sm_speed**self.overlap_power)
        idle = 1 / (1 + self.idle_speedup)
        full = np.ceil(waves) - 1
        last = np.maximum(waves - full, least)
        return np.where(full > 0, full + last, np.maximum(waves, idle))


def gemm_flops(m: Array, n: Array, k: Array) -> Array:
    """Multiplications and additions."""
    return 2.0 * m * n * k
