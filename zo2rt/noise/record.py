"""What one step did to the weights: enough to do it again, bit for bit; and records as arrays."""

import math
from collections.abc import Sequence
from ctypes import c_float
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One step's update for one parameter group; the journal holds these."""

    step: int
    """Step that computed the gradients."""
    sample_keys: tuple[int, ...]
    """Philox key of every sample (`sample_key`); with `torch` noise, the seed of the step."""
    projected_gradients: tuple[float, ...]
    """g of every sample; the update averages over them."""
    lr: float
    """Learning rate of this step and group."""
    weight_decay: float
    """Decay of this group; the weights shrink by the factor 1 - lr weight_decay."""
    eps: float
    """Size of the perturbation that measured g; the update does not use it."""
    skipped: bool = False
    """A loss was NaN or infinite: no update, no decay."""

    def __post_init__(self) -> None:
        if not self.sample_keys or len(self.sample_keys) != len(self.projected_gradients):
            raise ValueError(
                f"step {self.step}: a record needs one projected gradient per sample key, and at "
                f"least one; got {len(self.sample_keys)} keys and "
                f"{len(self.projected_gradients)} gradients"
            )
        for key in self.sample_keys:
            if not 0 <= key < 2**64:
                raise ValueError(f"step {self.step}: keys must be in 0 .. 2^64 - 1; got {key!r}")
        if not self.skipped:
            self._check_finite()

    def _check_finite(self) -> None:
        numbers = (*self.coefficients, self.decay)
        if not all(map(math.isfinite, numbers)):
            raise ValueError(
                f"step {self.step}: lr g / q and 1 - lr wd must be finite in fp32; got {numbers} "
                f"from g = {self.projected_gradients}, lr = {self.lr}, weight_decay = "
                f"{self.weight_decay}; a step that diverged must be recorded with skipped=True"
            )

    @property
    def coefficients(self) -> tuple[float, ...]:
        """a_i = fp32(lr g_i / q), computed in float64 from left to right."""
        num_samples = len(self.projected_gradients)
        return tuple(_fp32(self.lr * g / num_samples) for g in self.projected_gradients)

    @property
    def decay(self) -> float:
        """d = fp32(1 - lr weight_decay), computed in float64."""
        return _fp32(1.0 - self.lr * self.weight_decay)


def _fp32(value: float) -> float:
    """Rounded to nearest even, infinite beyond fp32's range; many times faster than numpy."""
    return c_float(value).value


class Updates(NamedTuple):
    """Records one after the other: record r owns the samples up to ``ends[r]``."""

    keys: NDArray[np.uint64]
    """Per sample."""
    coefficients: NDArray[np.float32]
    """a_i, per sample."""
    ends: NDArray[np.int32]
    """Per record: how many samples it and those before it have."""
    decays: NDArray[np.float32]
    """d, per record."""


def flattened(records: Sequence[Record]) -> Updates:
    """The records in the order given, without those that were skipped."""
    applied = [record for record in records if not record.skipped]
    sizes = [len(record.sample_keys) for record in applied]
    coefficients = [a for record in applied for a in record.coefficients]
    return Updates(
        keys=np.array([k for record in applied for k in record.sample_keys], dtype=np.uint64),
        coefficients=np.array(coefficients, dtype=np.float32),
        ends=np.cumsum(sizes, dtype=np.int32),
        decays=np.array([record.decay for record in applied], dtype=np.float32),
    )
