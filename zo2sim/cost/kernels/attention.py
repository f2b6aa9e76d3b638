"""Time of fused attention from tiles, the longest tile and memory, before any table corrects it."""

from dataclasses import dataclass
from math import inf

import numpy as np

from zo2sim.cost.kernels.roofline import ELEMENT_BYTES, Array, Rates, memory_s, smooth_maximum

TILE = 128  # queries and keys of one tile
HEAD_STEP = 32  # FlashAttention pads heads to a multiple of it
TABLE_HEAD_DIM = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """Which keys a query sees: itself and ``window`` positions before it (None: all of them).

    Without causality, as many after it too. Raises ``ValueError`` when the window is not > 0.
    """

    causal: bool = True
    window: float | None = None

    def __post_init__(self) -> None:
        if self.window is not None and not self.window > 0:
            raise ValueError(f"window must be > 0, or None for no limit; got {self.window!r}")

    @property
    def reach(self) -> float:
        """Keys on one side of a query's own."""
        return inf if self.window is None else self.window

    def pairs(self, seq: Array, reach: float) -> Array:
        """Pairs (query, key) kept, in a sequence of ``seq`` positions or tiles."""
        before = np.minimum(reach, seq - 1)
        kept = before * seq - before * (before + 1) / 2
        return seq + kept * self._sides

    def longest_row(self, seq: Array, reach: float) -> Array:
        """Most keys that one query sees."""
        return np.minimum(seq, self._sides * reach + 1)

    @property
    def _sides(self) -> int:
        return 1 if self.causal else 2


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """Sizes of one attention kernel: arrays of one shape, all > 0."""

    mask: Mask
    batch: Array
    seq: Array
    heads: Array
    kv_heads: Array
    head_dim: Array

    @property
    def sequences(self) -> Array:
        """Independent query sequences."""
        return self.batch * self.heads

    @property
    def place(self) -> tuple[Array, Array, Array]:
        """Coordinates in the measured table."""
        return self.sequences, self.seq, self.heads

    @property
    def flops(self) -> Array:
        """Both products, over the pairs that the mask keeps."""
        pairs = self.mask.pairs(self.seq, self.mask.reach)
        return 4.0 * self.head_dim * self.sequences * pairs

    @property
    def nbytes(self) -> Array:
        """Queries and output once, keys and values once per key-value head."""
        rows = 2.0 * self.batch * self.seq * (self.heads + self.kv_heads)
        return ELEMENT_BYTES * self.head_dim * rows

    @property
    def tile_rows(self) -> Array:
        return np.ceil(self.seq / TILE)

    @property
    def tile_pairs(self) -> Array:
        """Tiles of one sequence that hold a kept pair; masked parts of a tile count in full."""
        return self.mask.pairs(self.tile_rows, self._tile_reach)

    @property
    def longest_row(self) -> Array:
        """Tiles in the longest row."""
        return self.mask.longest_row(self.tile_rows, self._tile_reach)

    @property
    def _tile_reach(self) -> float:
        return float(np.ceil(self.mask.reach / TILE))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRoofline:
    """FlashAttention: every SM works through rows of tiles; the longest row bounds small launches.

    ``row_keys`` is what starting and ending a row of tiles costs, in keys; ``softmax_depth`` what
    exponentials cost, in columns of the head: time grows with head_dim + softmax_depth.
    Overheads are times beyond the peak rate, relative to it. What does not get faster with the
    tensor cores weighs more on a faster SM: ``row_keys`` and the longest row's overhead grow with
    its rate, to the powers given.
    """

    launch_s: float
    overhead: float
    row_keys: float
    row_keys_power: float
    longest_row_overhead: float
    longest_row_power: float
    memory_overhead: float
    l2_bytes: float
    l2_speedup: float
    sharpness: float
    softmax_depth: float

    def time_s(self, shape: AttentionShape, rates: Rates) -> Array:
        """Seconds; the shape is positive."""
        moving_s = memory_s(
            shape.nbytes,
            rates,
            overhead=self.memory_overhead,
            l2_bytes=self.l2_bytes,
            l2_speedup=self.l2_speedup,
        )
        tile_flops = 4.0 * TILE * TILE * self._columns(shape.head_dim)
        speed = rates.sm_speed
        row_tiles = self.row_keys / TILE * speed**self.row_keys_power
        tiles = shape.sequences * (shape.tile_pairs + shape.tile_rows * row_tiles)
        computing_s = tiles * tile_flops * (1 + self.overhead) / rates.flops_per_s
        parts = [computing_s, moving_s]
        if rates.num_sms is not None:
            longest = shape.longest_row + row_tiles
            overhead = self.longest_row_overhead * speed**self.longest_row_power
            sm_flops_per_s = rates.flops_per_s / rates.num_sms
            parts.append(longest * tile_flops * (1 + overhead) / sm_flops_per_s)
        return self.launch_s + smooth_maximum(parts, self.sharpness)

    def _columns(self, head_dim: Array) -> Array:
        """Columns of the padded head whose products take as long as its tile, softmax included.

        The overheads were fitted at heads of 128, softmax included; that is what this divides by.
        """
        padded = np.ceil(head_dim / HEAD_STEP) * HEAD_STEP
        relative = (padded + self.softmax_depth) / (TABLE_HEAD_DIM + self.softmax_depth)
        return TABLE_HEAD_DIM * relative
