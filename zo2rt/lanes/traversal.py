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
from zo2rt.model.walk import modules_of
from zo2sim.schedule.ops import HEAD, TAIL


class Traversal:
    """One lane per batch, each a thread that stands still except while ``advance`` runs it.

    Lanes run under the grad mode, inference mode, autocast and default device of the thread that
    builds the traversal, issue to the device and current stream of each caller of ``advance``, and
    keep a default dtype of their own. Callers on several threads may each advance lanes of their
    own; with ``devices`` lanes start on these, and may move. From construction to ``close`` the
    model is in eval mode and has hooks on its blocks and resident modules; ``close`` takes both
    back, and ends every thread.

    Raises ``ValueError`` that names the modules where dropout is switched on.
    """

    def __init__(
        self,
        model: nn.Module,
        units: Units,
        loss_fn: LossFn,
        batches: Sequence[Any],
        devices: Sequence[int] | None = None,
    ) -> None:
        if not batches:
            raise ValueError("a traversal must have at least 1 lane; got no batches")
        refuse_dropout(model)
        self._units = units
        self._interrupted: Lane | None = None
        self._moves = devices is not None
        surroundings = Surroundings.current()
        starts = [0] * len(batches) if devices is None else devices
        self._lanes = tuple(
            Lane(number, units.blocks, _Run(loss_fn, model, batch), surroundings, start)
            for number, (batch, start) in enumerate(zip(batches, starts, strict=True))
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

    def advance(self, lane: int, unit: int, device: int = 0) -> None:
        """Run a lane through one unit, up to the next one's entry (the tail: up to the loss).

        Between two blocks the earlier one runs. The caller has bound the unit's weights, and those
        that it borrows, to the model's parameters. A lane that has its loss stays as it is. An
        error in the lane is raised here, with the lane's traceback. The unit is on ``device``, and
        so is the lane.
        """
        self._check_whole()
        active = self._lanes[lane]
        try:
            active.advance(unit, device)
        finally:
            if active.running:
                self._interrupted = active

    def move(self, lane: int, unit: int, device: int, receive: Callable[[Tensor], Tensor]) -> None:
        """Bring a lane that stands before a unit to that unit's device, by what it is called with.

        A lane that has its loss stays as it is.
        """
        self._check_whole()
        self._lanes[lane].move(unit, device, receive)

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
        lane = self._interrupted
        if lane is not None:
            raise RuntimeError(
                f"the caller was interrupted while lane {lane.number} ran the "
                f"{lane.describe(lane.position)}; close the traversal"
            )

    def _hooks(self, model: nn.Module) -> Iterator[RemovableHandle]:
        """Boundaries come first among a block's hooks before it, last among those after it."""
        blocks = self._units.blocks
        for number, block in enumerate(blocks.modules):
            yield self._at_entry(number, block)
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
        here = threading.current_thread()
        return next((lane for lane in self._lanes if lane.thread is here), None)

    def _at_entry(self, number: int, block: nn.Module) -> RemovableHandle:
        """Lanes that move get what the block is called with back, as it is on its device."""
        if not self._moves:
            return block.register_forward_pre_hook(self._entry(number), prepend=True)
        carrying = self._carrying_entry(number)
        return block.register_forward_pre_hook(carrying, prepend=True, with_kwargs=True)

    def _carrying_entry(self, block: int) -> Callable[..., Any]:
        def hook(_: nn.Module, args: Any, kwargs: Any) -> Any:
            lane = self._mine()
            return None if lane is None else lane.enter_block(block, (args, kwargs))

        return hook

    def _entry(self, block: int) -> Callable[..., None]:
        def hook(*_: object) -> None:
            lane = self._mine()
            if lane is not None:
                lane.enter_block(block)

        return hook

    def _exit(self, _: nn.Module, __: object, output: Any) -> Any:
        lane = self._mine()
        return None if lane is None else lane.leave_blocks(output if self._moves else None)

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
    """Modules outside the blocks that hold parameters, and the units whose binding covers them.

    Raises ``ValueError`` that names a parameter of the model that is none of the units'.
    """
    readers: dict[int, set[int]] = {}
    for unit in units.order:
        for parameter in (*unit.parameters, *unit.borrowed):
            readers.setdefault(id(parameter.tensor), set()).add(unit.number)
    held = (p for module in modules_of(model) for p in module._parameters.values())
    if not all(p is None or id(p) in readers for p in held):
        name = next(name for name, p in model.named_parameters() if id(p) not in readers)
        raise ValueError(
            f"a model must keep the parameters that its units were found with; {name} is another "
            "one now: write into the old one, or build a new engine"
        )
    for name, module in model.named_modules(memo={*units.blocks.modules}):
        read_by = [readers[id(p)] for p in module.parameters(recurse=False)]
        if read_by:
            yield name, module, frozenset(set.intersection(*read_by))


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
