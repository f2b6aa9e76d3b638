"""Where the tensors of a unit lie in its flat byte buffer, in whatever formats.

Every tensor starts at a multiple of 256 bytes, and a buffer has exactly
`zo2sim.models.shapes.Unit.buffer_bytes` bytes. Scales stand at the end of a tensor's piece, so that
both values and scales are aligned, and zero points just before them. `zo2rt.model.codec` fills it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from zo2sim.dtypes import Dtype, TensorFormat
from zo2sim.models.shapes import aligned


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Where one tensor lies in the buffer: its values first, its scales last."""

    form: TensorFormat
    shape: tuple[int, ...]
    start: int
    end: int
    values_end: int
    scales_start: int

    @property
    def dtype(self) -> Dtype:
        return self.form.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class WireLayout:
    """A flat buffer of ``num_bytes`` for tensors, in the order given."""

    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, dtype: Dtype, shapes: Sequence[tuple[int, ...]]) -> Self:
        """The layout of tensors with these logical shapes in one format."""
        return cls.mixed((TensorFormat(dtype), shape) for shape in shapes)

    @classmethod
    def mixed(cls, tensors: Iterable[tuple[TensorFormat, tuple[int, ...]]]) -> Self:
        """The layout of tensors that each have a format of their own."""
        pieces: list[Piece] = []
        for form, shape in tensors:
            pieces.append(piece_of(form, tuple(shape), pieces[-1].end if pieces else 0))
        return cls(pieces=tuple(pieces))

    @property
    def num_bytes(self) -> int:
        return self.pieces[-1].end if self.pieces else 0


def piece_of(form: TensorFormat, shape: tuple[int, ...], start: int) -> Piece:
    """A tensor's piece that begins there."""
    end = aligned(start + form.num_bytes(shape))
    return Piece(
        form=form,
        shape=shape,
        start=start,
        end=end,
        values_end=start + form.values_bytes(shape),
        scales_start=end - form.scales_bytes(shape),
    )
