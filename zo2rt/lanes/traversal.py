"""Lanes in lockstep: the loss function once per lane, all of them from unit to unit together.

    with Traversal(model, units, loss_fn, batches) as traversal:
        for unit in units.order:
            for lane in traversal.unfinished:
                with bound(...):  # W+ or W- of the unit, and of what it borrows
                    traversal.advance(lane, unit.number)
        losses = traversal.losses()

A loss function that runs the model more than once (two forwards, ``generate``) stops where it
enters the model again. Its lanes are then still ``unfinished`` after the tail, and go on in
another, read-only traversal of the units: the same calls, from the head on.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from zo2rt.lanes.lane import Lane
from zo2rt.lanes.surroundings import Surroundings
from zo2rt.model.loss import LossFn, evaluating, refuse_dropout
from zo2rt.model.units import Units
from zo2sim.schedule.ops import HEAD, TAIL


class Traversal:
    """One lane per batch, each a thread that stands still except while ``advance`` runs it.

    Lanes run under the grad mode, inference mode, autocast and default device of the thread that
    builds the traversal, issue to the device and current stream of each caller of ``advance``, and
    keep a default dtype of their own. From construction to ``close`` the model is in eval mode and
    has hooks on its blocks and resident modules; ``close`` takes both back, and ends every thread.

    Raises ``ValueError`` that names the modules where dropout is switched on.
    """

    def __init__(
        self, model: nn.Module, units: Units, loss_fn: LossFn, batches: Sequence[Any]
    ) -> None:
        if not batches:
            raise ValueError("a traversal must have at least 1 lane; got no batches")
        refuse_dropout(model)
        self._units = units
        self._turn = threading.Lock()
        self._active: Lane | None = None
        surroundings = Surroundings.current()
        self._lanes = tuple(
            Lane(number, units.blocks, _Run(loss_fn, model, batch), surroundings)
            for number, batch in enumerate(batches)
        )
        with ExitStack() as stack:
            stack.enter_context(evaluating(model))
            for handle in self._hooks(model):
                stack.enter_context(handle)
            self._model_state = stack.pop_all()

    def __enter__(self) -> "Traversal":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def unfinished(self) -> tuple[int, ...]:
        """Lanes that have not returned their loss, in ascending order."""
        return tuple(lane.number for lane in self._lanes if lane.loss is None)

    def advance(self, lane: int, unit: int) -> None:
        """Run a lane through one unit, up to the next one's entry (the tail: up to the loss).

        Between two blocks the earlier one runs. The caller has bound the unit's weights, and those
        that it borrows, to the model's parameters. A lane that has its loss stays as it is. An
        error in the lane is raised here, with the lane's traceback.
        """
        with self._turn:
            self._check_whole()
            self._active = self._lanes[lane]
            self._active.advance(unit)

    def losses(self) -> Tensor:
        """Losses in lane order, (lanes,), float64, on their device; does not wait for it.

        Raises ``ValueError`` when a lane is unfinished.
        """
        returned = self.returned()
        return torch.stack([loss.to(returned[0].device, torch.float64) for loss in returned])

    def returned(self) -> tuple[Tensor, ...]:
        """Losses in lane order as the loss function returned them: each in its own dtype.

        Raises ``ValueError`` when a lane is unfinished.
        """
        return tuple(map(_loss_of, self._lanes))

    def close(self) -> None:
        """End every lane and leave the model as it was; a second call does nothing."""
        with ExitStack() as stack:
            stack.push(self._model_state.pop_all())
            for lane in self._lanes:
                stack.callback(lane.close)

    def _check_whole(self) -> None:
        """Ctrl-C ends the caller's wait for a lane, not the lane."""
        if self._active is not None and self._active.running:
            raise RuntimeError(
                f"the caller was interrupted while lane {self._active.number} ran the "
                f"{self._active.describe(self._active.position)}; close the traversal"
            )

    def _hooks(self, model: nn.Module) -> Iterator[RemovableHandle]:
        """Boundaries come first among a block's hooks before it, last among those after it."""
        blocks = self._units.blocks
        for number, block in enumerate(blocks.modules):
            yield block.register_forward_pre_hook(self._entry(number), prepend=True)
        yield blocks.modules[-1].register_forward_hook(self._exit)
        ancestors = blocks.ancestors(model)
        for module in ancestors:
            yield module.register_forward_pre_hook(self._model_entry, prepend=True)
        for name, module, readers in resident_modules(model, self._units):
            if module not in ancestors:
                guard = self._resident_entry(name, readers)
                yield module.register_forward_pre_hook(guard, prepend=True)

    def _mine(self) -> Lane | None:
        """The lane of the calling thread; a call of the model from elsewhere is none of ours."""
        lane = self._active
        return lane if lane is not None and lane.ident == threading.get_ident() else None

    def _entry(self, block: int) -> Callable[..., None]:
        def hook(*_: object) -> None:
            lane = self._mine()
            if lane is not None:
                lane.enter_block(block)

        return hook

    def _exit(self, *_: object) -> None:
        lane = self._mine()
        if lane is not None:
            lane.leave_blocks()

    def _model_entry(self, *_: object) -> None:
        lane = self._mine()
        if lane is not None and lane.position == TAIL:
            lane.pause(HEAD)

    def _resident_entry(self, name: str, readers: frozenset[int]) -> Callable[..., None]:
        def hook(*_: object) -> None:
            lane = self._mine()
            if lane is None or lane.position in readers:
                return
            if lane.position == TAIL and HEAD in readers:
                lane.pause(HEAD)
            else:
                lane.refuse(f"{name} (read in {', '.join(map(lane.describe, sorted(readers)))})")

        return hook


def resident_modules(
    model: nn.Module, units: Units
) -> Iterator[tuple[str, nn.Module, frozenset[int]]]:
    """Modules outside the blocks that hold parameters, and the units whose binding covers them."""
    readers: dict[int, set[int]] = {}
    for unit in units.order:
        for parameter in (*unit.parameters, *unit.borrowed):
            readers.setdefault(id(parameter.tensor), set()).add(unit.number)
    for name, module in model.named_modules():
        held = [readers[id(p)] for p in module.parameters(recurse=False)]
        if held and units.blocks.block_of(name) is None:
            yield name, module, frozenset(set.intersection(*held))


class _Run:
    """The loss of one batch."""

    def __init__(self, loss_fn: LossFn, model: nn.Module, batch: Any) -> None:
        self._loss_fn, self._model, self._batch = loss_fn, model, batch

    def __call__(self) -> Tensor | float:
        return self._loss_fn(self._model, self._batch)


def _loss_of(lane: Lane) -> Tensor:
    if lane.loss is None:
        raise ValueError(f"lane {lane.number} must have returned its loss; {_where(lane)}")
    return lane.loss


def _where(lane: Lane) -> str:
    if lane.next is None:
        return "it ended with an error, or was closed"
    if lane.next == HEAD and lane.forwards:
        return (
            f"its loss function enters the model a second time (forward {lane.forwards + 1}): run "
            "another, read-only traversal of the units, or use a loss function with one forward"
        )
    return f"it stands before the {lane.describe(lane.next)}"
