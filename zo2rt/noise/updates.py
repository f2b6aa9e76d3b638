"""What steps do to the weights of one parameter group, bit for bit; and the same as arrays."""

import math
from collections.abc import Sequence
from ctypes import c_float
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One noise sample: its 64-bit Philox key and its projected gradient ``g`` (DESIGN 3).

    With `torch` noise the key is the seed of the step.
    """

    key: int
    g: float

    def __post_init__(self) -> None:
        if not 0 <= self.key < 2**64:
            raise ValueError(f"a noise key must be in 0..2**64-1; got {self.key}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One step's update of one parameter group: the mean over its draws, and decay."""

    draws: tuple[Draw, ...]
    lr: float
    weight_decay: float
    """The weights shrink by the factor 1 - lr weight_decay."""

    def __post_init__(self) -> None:
        if not self.draws:
            raise ValueError("an update needs at least one draw; got none")
        numbers = (*self.coefficients, self.decay)
        if not all(map(math.isfinite, numbers)):
            raise ValueError(
                f"lr g / q and 1 - lr wd must be finite in fp32; got {numbers} from {self}; "
                f"a step that diverged must be skipped"
            )

    @property
    def coefficients(self) -> tuple[float, ...]:
        """a_i of every draw."""
        return coefficients(self.draws, self.lr)

    @property
    def decay(self) -> float:
        """d = fp32(1 - lr weight_decay), computed in float64."""
        return _fp32(1.0 - self.lr * self.weight_decay)


def coefficients(draws: Sequence[Draw], lr: float) -> tuple[float, ...]:
    """a_i = fp32(lr g_i / q), computed in float64 from left to right; it may be infinite."""
    return tuple(_fp32(lr * draw.g / len(draws)) for draw in draws)


def _fp32(value: float) -> float:
    """Rounded to nearest even, infinite beyond fp32's range; many times faster than numpy."""
    return c_float(value).value


class Updates(NamedTuple):
    """Updates one after the other: update r owns the draws up to ``ends[r]``."""

    keys: NDArray[np.uint64]
    """Per draw."""
    coefficients: NDArray[np.float32]
    """a_i, per draw."""
    ends: NDArray[np.int32]
    """Per update: how many draws it and those before it have."""
    decays: NDArray[np.float32]
    """d, per update."""

    @classmethod
    def of(cls, updates: Sequence[Update]) -> Self:
        """In the order given."""
        return cls(
            keys=np.array([d.key for update in updates for d in update.draws], dtype=np.uint64),
            coefficients=np.array([a for u in updates for a in u.coefficients], dtype=np.float32),
            ends=np.cumsum([len(update.draws) for update in updates], dtype=np.int32),
            decays=np.array([update.decay for update in updates], dtype=np.float32),
        )
