"""Number formats: how many bytes an element takes where."""

from enum import StrEnum


class Dtype(StrEnum):
    """Formats of weights in storage, on the wire and in compute."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"  # e4m3, with one fp32 scale per row sent along

    @property
    def bytes(self) -> int:
        """Bytes of one element, scales apart."""
        return {Dtype.FP32: 4, Dtype.FP16: 2, Dtype.BF16: 2, Dtype.FP8: 1}[self]

    @property
    def is_scaled(self) -> bool:
        """Rows are scaled to what the format holds."""
        return self is Dtype.FP8

    @property
    def row_scale_bytes(self) -> int:
        """Bytes of the scale that travels with each row."""
        return 4 if self.is_scaled else 0
