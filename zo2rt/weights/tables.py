"""A model's buffers (rotary tables, masks) on the devices that run with them.

Those of a block are where the block is, all others where the head is. A unit that several devices
run finds those of the device: they are exchanged as its weights are.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zo2rt.model.units import Unit, Units
from zo2sim.policies import Layout
from zo2sim.schedule.ops import HEAD, TAIL


class _Place(NamedTuple):
    """Where a module keeps a buffer."""

    module: nn.Module
    name: str

    @property
    def tensor(self) -> Tensor:
        tensor = self.module._buffers[self.name]
        assert tensor is not None
        return tensor

    @tensor.setter
    def tensor(self, tensor: Tensor) -> None:
        self.module._buffers[self.name] = tensor


class Tables:
    """From construction to `give_back` a model's buffers are on ``devices``."""

    def __init__(
        self, model: nn.Module, units: Units, layout: Layout, devices: Sequence[torch.device]
    ) -> None:
        self._before: list[tuple[_Place, Tensor]] = []
        self._copies: defaultdict[tuple[int, int], list[tuple[_Place, Tensor]]] = defaultdict(list)
        for path, place in _places(model):
            block = units.blocks.block_of(path)
            readers = (HEAD, TAIL) if block is None else (block,)
            self._settle(place, readers, layout, devices)

    def _settle(
        self,
        place: _Place,
        readers: Sequence[int],
        layout: Layout,
        devices: Sequence[torch.device],
    ) -> None:
        first, *others = layout.homes(readers[-1])
        before = place.tensor
        if before.device != devices[first]:
            self._before.append((place, before))
            place.tensor = before.to(devices[first])
        for number in others:
            if devices[number] != devices[first]:
                copy = before.to(devices[number])
                for reader in readers:
                    self._copies[number, reader].append((place, copy))

    @contextmanager
    def on(self, device: int, unit: Unit) -> Iterator[None]:
        """Inside, a unit finds its buffers on that device; nobody else may run it."""
        copies = self._copies.get((device, unit.number), [])
        before = [(place, place.tensor) for place, _ in copies]
        try:
            for place, copy in copies:
                place.tensor = copy
            yield
        finally:
            for place, tensor in before:
                place.tensor = tensor

    def give_back(self) -> None:
        """Every buffer is where it was; a second call does nothing."""
        for place, tensor in self._before:
            place.tensor = tensor
        self._before = []
        self._copies.clear()


def _places(model: nn.Module) -> Iterator[tuple[str, _Place]]:
    """Every buffer by its path; None stands for one that a module does without."""
    for path, module in model.named_modules():
        for name, tensor in module._buffers.items():
            if tensor is not None:
                yield f"{path}.{name}".lstrip("."), _Place(module, name)
