"""Units of a real model: the head, blocks, the tail, and what every one of them owns.

[Note: shared parameters] A parameter that one block alone reads belongs to it. Everything
else is resident and belongs to the head, or to the tail where nothing before it reads it. So a
parameter is updated once, at its first use; later readers borrow it (a tied LM head borrows the
embedding), and need the owner's W+ and W- while they run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

from torch import Tensor, nn

from zo2rt.model.decay import DecayRule, by_type
from zo2rt.model.discovery import Blocks, find_blocks
from zo2rt.model.layout import WireLayout
from zo2rt.model.loss import LossFn
from zo2rt.model.uses import Uses, trace_uses
from zo2sim.dtypes import Dtype, TensorFormat
from zo2sim.models.shapes import Parameter
from zo2sim.schedule.ops import HEAD, TAIL, unit_name


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitParameter:
    """A parameter of the model and what the noise, the journal and the update must know of it.

    ``index`` is p of the noise specification: the place among ``named_parameters()`` of the whole
    model, each counted once, frozen ones included.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    trainable: bool
    decays: bool
    tensor: nn.Parameter = field(repr=False, compare=False)

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """A ``ValueError`` inside says whose weights it is about."""
        try:
            yield
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None

    def format(self, dtype: Dtype, rest: Dtype | None) -> TensorFormat:
        """How a unit in a format stores it."""
        return Parameter(name=self.name, shape=self.shape).format(dtype, rest)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What moves together, in ascending order of ``index``.

    ``parameters`` are owned, and make up the unit's flat buffer; of these, ``kept`` are read by
    other units only. ``borrowed`` ones belong to a resident unit and are read here too. ``buffers``
    (rotary tables, masks), by name, never move.
    """

    number: int
    parameters: tuple[UnitParameter, ...]
    kept: frozenset[str] = frozenset()
    borrowed: tuple[UnitParameter, ...] = ()
    buffers: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        return unit_name(self.number)

    @cached_property
    def reads(self) -> tuple[UnitParameter, ...]:
        """What the unit's lanes read: its own parameters, then those that it borrows."""
        own = (p for p in self.parameters if p.name not in self.kept)
        return (*own, *self.borrowed)

    @property
    def trained(self) -> tuple[UnitParameter, ...]:
        """The parameters that an update changes; each draws one noise value per element."""
        return tuple(p for p in self.parameters if p.trainable)

    def layout(self, dtype: Dtype, rest: Dtype | None = None) -> WireLayout:
        """Where each of ``parameters`` lies in the flat buffer: from a multiple of 256 bytes on.

        ``rest`` is the format of what an integer format leaves as it is. Its size equals
        ``buffer_bytes`` of a `zo2sim.models.shapes.Unit` with the same parameters.
        """
        if (dtype, rest) not in self._layouts:
            found = WireLayout.mixed((p.format(dtype, rest), p.shape) for p in self.parameters)
            self._layouts[dtype, rest] = found
        return self._layouts[dtype, rest]

    @cached_property
    def _layouts(self) -> dict[tuple[Dtype, Dtype | None], WireLayout]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Every unit of a model; ``units[HEAD]``, ``units[3]``, and in execution order by iteration."""

    blocks: Blocks
    by_number: Mapping[int, Unit]

    def __getitem__(self, number: int) -> Unit:
        return self.by_number[number]

    @property
    def order(self) -> tuple[Unit, ...]:
        """Head, blocks, tail."""
        return tuple(self.by_number[n] for n in (HEAD, *range(self.num_blocks), TAIL))

    @property
    def num_blocks(self) -> int:
        return len(self.blocks.modules)

    @property
    def tied(self) -> bool:
        """The tail reads a parameter that the head owns."""
        return bool(self.by_number[TAIL].borrowed)

    @property
    def shared(self) -> tuple[UnitParameter, ...]:
        """Trained parameters that the head reads before a later unit does: tied embeddings."""
        borrowed = {p.name for unit in self.order for p in unit.borrowed}
        return tuple(p for p in self[HEAD].reads if p.trainable and p.name in borrowed)

    @property
    def parameters(self) -> tuple[UnitParameter, ...]:
        """Every parameter of the model once, in ascending order of its index."""
        owned = (p for unit in self.by_number.values() for p in unit.parameters)
        return tuple(sorted(owned, key=lambda p: p.index))


def find_units(
    model: nn.Module,
    loss_fn: LossFn,
    batch: Any,
    *,
    blocks: Blocks | None = None,
    decays: DecayRule = by_type,
    adapters_with_head: bool = False,
) -> Units:
    """The units of a model, told apart by running ``loss_fn`` once on ``batch`` (a small one).

    A resident parameter that this run does not read belongs to the head where it is registered
    before the blocks, else to the tail. With ``adapters_with_head`` every trainable parameter is
    the head's and stays on the device, as the schedules of LoRA have it.
    """
    blocks = find_blocks(model) if blocks is None else blocks
    readers = _readers(model, blocks, trace_uses(model, blocks, loss_fn, batch))
    parameters = _described(model, decays)
    owners = {
        p.name: HEAD if adapters_with_head and p.trainable else _owner(readers[p.name])
        for p in parameters
    }
    numbers, buffers = (HEAD, *range(len(blocks.modules)), TAIL), _buffers(model, blocks)
    return Units(
        blocks=blocks,
        by_number={
            n: Unit(
                number=n,
                parameters=tuple(p for p in parameters if owners[p.name] == n),
                kept=frozenset(
                    p.name for p in parameters if owners[p.name] == n and n not in readers[p.name]
                ),
                borrowed=tuple(
                    p for p in parameters if n in readers[p.name] and owners[p.name] != n
                ),
                buffers=buffers.get(n, {}),
            )
            for n in numbers
        },
    )


def _described(model: nn.Module, decays: DecayRule) -> tuple[UnitParameter, ...]:
    modules = dict(model.named_modules(remove_duplicate=False))
    return tuple(
        UnitParameter(
            index=index,
            name=name,
            shape=tuple(tensor.shape),
            trainable=tensor.requires_grad,
            decays=decays(modules[name.rpartition(".")[0]], name, tensor),
            tensor=tensor,
        )
        for index, (name, tensor) in enumerate(model.named_parameters())
    )


def _readers(model: nn.Module, blocks: Blocks, uses: Uses) -> dict[str, frozenset[int]]:
    """Units that read each parameter: those seen, and every one that holds it."""
    first_names = {id(p): name for name, p in model.named_parameters()}
    readers = {name: set(uses.get(name, ())) for name in first_names.values()}
    seen_list, places = False, dict[str, int]()
    for name, tensor in model.named_parameters(remove_duplicate=False):
        block = blocks.block_of(name)
        seen_list = seen_list or block is not None
        first = first_names[id(tensor)]
        places.setdefault(first, TAIL if seen_list else HEAD)
        if block is not None:
            readers[first].add(block)
    return {name: frozenset(units or {places[name]}) for name, units in readers.items()}


def _owner(readers: frozenset[int]) -> int:
    """See [Note: shared parameters]."""
    if len(readers) == 1:
        return next(iter(readers))
    return HEAD


def _buffers(model: nn.Module, blocks: Blocks) -> dict[int, dict[str, Tensor]]:
    """The buffers of blocks; every other buffer of the model counts as the head's."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in model.named_buffers():
        block = blocks.block_of(name)
        found.setdefault(HEAD if block is None else block, {})[name] = tensor
    return found
