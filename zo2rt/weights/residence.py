"""A model's weights while they live in an arena: moved in, shown, read out, given back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from zo2rt.backends.buffers import give_back_freed
from zo2rt.model.binding import bound
from zo2rt.model.codec import views
from zo2rt.model.units import Unit, UnitParameter, Units
from zo2rt.weights.arena import Arena, fill
from zo2rt.weights.block_store import BlockStore


class Residence:
    """Between visits the model's parameters show the weights where they live.

    The model's own tensors are let go unit by unit, so host memory holds the weights once. What
    lives on NVMe shows nothing: its parameters are empty until `give_back`. Buffers (rotary tables,
    masks) are on ``device`` meanwhile.
    """

    def __init__(
        self,
        model: nn.Module,
        units: Units,
        arena: Arena,
        *,
        device: torch.device,
        blocks: BlockStore | None,
    ) -> None:
        self._units, self._arena, self._blocks = units, arena, blocks
        self._came_from = {p.name: p.tensor.device for p in units.parameters}
        self._buffers = _moved(model, device)
        for unit in units.order:
            self._move_in(unit)
        give_back_freed()

    def _move_in(self, unit: Unit) -> None:
        weights = [p.tensor.data for p in unit.parameters]
        if self._blocks is not None and self._arena.is_streamed(unit):
            staged = self._arena.staged(unit, self._arena.stage_out)
            fill(weights, staged, self._arena.formats.home(unit))
            self._blocks.write(unit.number, staged, 0)
            home = [weight.new_empty(0) for weight in weights]
        else:
            self._arena.take_in(unit, weights)
            home = self._arena.home(unit)
        for parameter, tensor in zip(unit.parameters, home, strict=True):
            parameter.tensor.data = tensor

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Name and master weights of every parameter, unit by unit; tensors hold until something
        runs."""
        for unit in self._units.order:
            for parameter, tensor in self._shown([unit]):
                yield parameter.name, tensor

    def _shown(self, units: Sequence[Unit]) -> Iterator[tuple[UnitParameter, Tensor]]:
        """Every parameter with its weights where they are: in a buffer, or in a file's pages."""
        away = [unit.number for unit in units if not self._arena.has_home(unit)]
        mapped = {} if self._blocks is None else self._blocks.mapped(away)
        for unit in units:
            if unit.number in mapped:
                home = views(mapped[unit.number], self._arena.formats.home(unit))
            else:
                home = self._arena.home(unit)
            yield from zip(unit.parameters, home, strict=True)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Inside, every parameter shows its weights, those on NVMe too. Nothing may run.

        Each has a storage of its own: of tensors that share one, `save_pretrained` makes copies.
        """
        parameters, tensors = zip(*self._shown(self._units.order), strict=True)
        with bound(parameters, map(torch.from_dlpack, tensors)):
            yield

    def show_blocks(self) -> None:
        """Let parameters on NVMe show their weights for good, as they are in the file by now."""
        away = [unit for unit in self._units.order if not self._arena.has_home(unit)]
        for parameter, tensor in self._shown(away):
            there = self._came_from[parameter.name]
            parameter.tensor.data = torch.from_dlpack(tensor).to(there)

    def give_back(self) -> None:
        """Let every parameter have a tensor of its own, where it was before, with these weights.

        What lives on NVMe stays pages of the file where the model was in host memory.
        """
        self.show_blocks()
        for unit in filter(self._arena.has_home, self._units.order):
            for parameter, tensor in self._shown([unit]):
                parameter.tensor.data = tensor.to(self._came_from[parameter.name], copy=True)
            self._arena.let_go(unit)
        give_back_freed()
        for module, name, tensor in self._buffers:
            module._buffers[name] = tensor
        self._buffers = []


def _moved(model: nn.Module, device: torch.device) -> list[tuple[nn.Module, str, Tensor]]:
    """Buffers as they were, after each was moved to the device where it was elsewhere."""
    before: list[tuple[nn.Module, str, Tensor]] = []
    for module in model.modules():
        for name, tensor in module._buffers.items():
            if tensor is not None and tensor.device != device:
                before.append((module, name, tensor))
                module._buffers[name] = tensor.to(device)
    return before
