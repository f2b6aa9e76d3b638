"""A model's weights while they live in an arena: moved in, shown, read out, given back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from zo2rt.backends.buffers import give_back_freed
from zo2rt.model.binding import bound
from zo2rt.model.codec import TORCH_DTYPES, encoded, view, views
from zo2rt.model.layout import Piece
from zo2rt.model.scales import SCALES
from zo2rt.model.units import Unit, UnitParameter, Units
from zo2rt.weights.arena import Arena
from zo2rt.weights.block_store import BlockStore
from zo2rt.weights.formats import Weights, fill


class Residence:
    """Between visits the model's parameters show the weights where they live.

    The model's own tensors are let go unit by unit, so host memory holds the weights once. What
    lives on NVMe or in an integer format shows nothing: its parameters are empty until `give_back`.
    """

    def __init__(
        self, units: Units, arena: Arena, *, blocks: BlockStore | None, weights: Weights
    ) -> None:
        self._units, self._arena, self._blocks = units, arena, blocks
        self._came_from = {p.name: p.tensor.device for p in units.parameters}
        self._scales = {p.name: p.tensor for p in units.parameters if p.name.endswith(SCALES)}
        for unit in units.order:
            self._move_in(unit, weights)
        give_back_freed()

    def _move_in(self, unit: Unit, weights: Weights) -> None:
        empty = [p.tensor.data.new_empty(0) for p in unit.parameters]
        if self._blocks is not None and self._arena.is_streamed(unit):
            staged = self._arena.staged(unit, self._arena.stage_out)
            fill(unit, weights, staged, self._arena.formats.home(unit))
            self._blocks.write(unit.number, staged, 0)
            home = empty
        else:
            self._arena.take_in(unit, weights)
            pieces = self._arena.formats.home(unit).pieces
            home = [
                empty[number] if pieces[number].dtype.is_integer else view
                for number, view in enumerate(self._arena.home(unit))
            ]
        for parameter, tensor in zip(unit.parameters, home, strict=True):
            parameter.tensor.data = tensor

    @property
    def encoded_bytes(self) -> int:
        """What the weights in an integer format take where they are shown: they are decoded."""
        return sum(
            p.elements * TORCH_DTYPES[piece.form.scale].itemsize
            for unit in self._units.order
            for p, piece in self._pieces(unit)
            if piece.dtype.is_integer
        )

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Name and master weights of every trained parameter, unit by unit; tensors hold until
        something runs."""
        for unit in self._units.order:
            for parameter, tensor in self._shown([unit], decoded=False):
                if parameter.trainable:
                    yield parameter.name, tensor

    def stored(self) -> Iterator[tuple[UnitParameter, Callable[[], Tensor]]]:
        """Every parameter of the model, with what gives its weights as they are by then.

        They come in host memory or pages of a file, and no other's are read or decoded.
        """
        for unit in self._units.order:
            for parameter, piece in self._pieces(unit):
                if parameter.name not in self._scales:
                    yield parameter, partial(self._one, unit, parameter, piece)

    def _one(self, unit: Unit, parameter: UnitParameter, piece: Piece) -> Tensor:
        buffer = self._buffer(unit)
        if piece.dtype.is_integer:
            return self._decoded(buffer, parameter, piece)
        return view(buffer, piece).cpu()

    def _buffer(self, unit: Unit) -> Tensor:
        if self._arena.has_home(unit):
            return self._arena.home_buffer(unit)
        assert self._blocks is not None, "what has no home in memory is on NVMe"
        return self._blocks.mapped([unit.number])[unit.number]

    def _decoded(self, buffer: Tensor, parameter: UnitParameter, piece: Piece) -> Tensor:
        return _dense(buffer, piece, self._scales.get(parameter.name + SCALES))

    def _shown(
        self, units: Sequence[Unit], *, decoded: bool
    ) -> Iterator[tuple[UnitParameter, Tensor]]:
        """Every parameter with its weights where they are: in a buffer, or in a file's pages.

        Those in an integer format are ``decoded`` into tensors of their own, or left out.
        """
        away = [unit.number for unit in units if not self._arena.has_home(unit)]
        mapped = {} if self._blocks is None else self._blocks.mapped(away)
        for unit in units:
            found = mapped.get(unit.number)
            buffer = self._arena.home_buffer(unit) if found is None else found
            home = views(buffer, self._arena.formats.home(unit))
            for (parameter, piece), tensor in zip(self._pieces(unit), home, strict=True):
                if not piece.dtype.is_integer:
                    yield parameter, tensor
                elif decoded:
                    yield parameter, self._decoded(buffer, parameter, piece)

    def _pieces(self, unit: Unit) -> Iterable[tuple[UnitParameter, Piece]]:
        return zip(unit.parameters, self._arena.formats.home(unit).pieces, strict=True)

    def _hides(self, unit: Unit) -> bool:
        encoded = any(piece.dtype.is_integer for _, piece in self._pieces(unit))
        return encoded or not self._arena.has_home(unit)

    def _return(self, units: Iterable[Unit], *, decoded: bool) -> None:
        """Pages of a file stay what they are, what is in a buffer is copied."""
        for unit in units:
            copy = self._arena.has_home(unit)
            for parameter, tensor in self._shown([unit], decoded=decoded):
                there = self._came_from[parameter.name]
                parameter.tensor.data = torch.from_dlpack(tensor).to(there, copy=copy)

    @contextmanager
    def whole(self, *, decoded: bool) -> Iterator[None]:
        """Inside, every parameter shows its weights, those on NVMe too. Nothing may run.

        Each has a storage of its own: of tensors that share one, `save_pretrained` makes copies.
        Those in an integer format are ``decoded``, or stay empty.
        """
        shown = self._shown(self._units.order, decoded=decoded)
        parameters, tensors = zip(*shown, strict=True)
        with bound(parameters, map(torch.from_dlpack, tensors)):
            yield

    def show_blocks(self, *, decoded: bool) -> None:
        """Let parameters that show nothing, on NVMe or encoded, show their weights for good."""
        self._return(filter(self._hides, self._units.order), decoded=decoded)

    def give_back(self, *, decoded: bool) -> None:
        """Let every parameter have a tensor of its own, where it was before, with these weights.

        What lives on NVMe stays pages of the file where the model was in host memory; what is in
        an integer format is ``decoded``, or comes back empty.
        """
        for unit in self._units.order:
            self._return([unit], decoded=decoded)
            self._arena.let_go(unit)
        give_back_freed()


def _dense(buffer: Tensor, piece: Piece, scales: Tensor | None) -> Tensor:
    """The weights of a tensor in an integer format, in the format of its scales, on the host.

    With ``scales`` in place of its own, where they have been trained. A device has room for the
    weights of one tensor, not of all.
    """
    dtype, stored = TORCH_DTYPES[piece.form.scale], encoded(buffer, piece)
    weights = torch.empty(piece.shape, dtype=dtype, device=buffer.device)
    if scales is not None:
        stored = replace(stored, scales=scales.data.to(buffer.device))
    stored.decode(weights)
    return weights.cpu()
