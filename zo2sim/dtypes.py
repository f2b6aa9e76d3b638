"""Number formats: how many bytes an element takes where, and a tensor with its scales."""

from dataclasses import dataclass
from enum import StrEnum
from math import prod


class Dtype(StrEnum):
    """Formats of weights in storage, on the wire and in compute."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"  # e4m3, with one fp32 scale per row sent along
    INT8 = "int8"  # symmetric, a scale per row
    INT4 = "int4"  # symmetric, a scale per group of 128 along a row
    INT4_ASYM = "int4_asym"  # the same with a zero point per group

    @property
    def bits(self) -> int:
        """Bits of one element, scales apart."""
        return {"fp32": 32, "fp16": 16, "bf16": 16, "fp8": 8, "int8": 8}.get(self, 4)

    @property
    def bytes(self) -> int:
        """Bytes of one element, scales apart; formats of half a byte have none."""
        assert self.bits % 8 == 0, f"an element of {self} has no whole bytes"
        return self.bits // 8

    @property
    def is_scaled(self) -> bool:
        """Rows are scaled to what the format holds."""
        return self is Dtype.FP8

    @property
    def is_integer(self) -> bool:
        """Weights are whole numbers of steps; what is no matrix keeps a float format."""
        return self in (Dtype.INT8, Dtype.INT4, Dtype.INT4_ASYM)

    @property
    def has_zero_points(self) -> bool:
        """A group's steps are counted from a point of its own."""
        return self is Dtype.INT4_ASYM

    @property
    def row_scale_bytes(self) -> int:
        """Bytes of the scale that travels with each row."""
        return 4 if self.is_scaled else 0


INT4_GROUP = 128
"""Weights along a row that share a scale, as in most published four-bit checkpoints."""


@dataclass(frozen=True, slots=True)
class TensorFormat:
    """How a tensor is stored: its values row by row, then zero points, then scales.

    A row is all but the last dimension's index; a vector is one row. ``scale`` is the format of an
    integer format's scales; fp8 has scales in fp32 and the float formats have none. Zero points
    take a byte each. Rows of four-bit values end at a whole byte.
    """

    dtype: Dtype
    scale: Dtype = Dtype.FP32

    def rows(self, shape: tuple[int, ...]) -> int:
        return prod(shape[:-1])

    def row_bytes(self, shape: tuple[int, ...]) -> int:
        """The values of one row."""
        return -(-(shape[-1] if shape else 1) * self.dtype.bits // 8)

    def group(self, shape: tuple[int, ...]) -> int:
        """Weights along a row that share a scale; the last group of a row may have fewer."""
        row = max(shape[-1] if shape else 1, 1)
        return row if self.dtype is Dtype.INT8 else INT4_GROUP

    def values_bytes(self, shape: tuple[int, ...]) -> int:
        return self.rows(shape) * self.row_bytes(shape)

    def row_groups(self, shape: tuple[int, ...]) -> int:
        """Groups of a row in an integer format."""
        return -(-(shape[-1] if shape else 1) // self.group(shape)) if self.dtype.is_integer else 0

    def num_groups(self, shape: tuple[int, ...]) -> int:
        return self.rows(shape) * self.row_groups(shape)

    def zeros_bytes(self, shape: tuple[int, ...]) -> int:
        return self.num_groups(shape) if self.dtype.has_zero_points else 0

    def scales_bytes(self, shape: tuple[int, ...]) -> int:
        if self.dtype.is_scaled:
            return self.rows(shape) * self.dtype.row_scale_bytes
        return self.num_groups(shape) * self.scale.bytes

    def num_bytes(self, shape: tuple[int, ...]) -> int:
        """All of the tensor, before the next one's grain."""
        return self.values_bytes(shape) + self.zeros_bytes(shape) + self.scales_bytes(shape)
