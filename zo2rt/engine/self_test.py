"""Before anything is trained: do lanes in lockstep give the bits of the whole model's forward?

Two lanes run with different weights, so a model that keeps something of a forward outside the
lane's own frames (on a module, in a global) is found out.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zo2rt.checkpoint.presence import Presence, Weights, own, present
from zo2rt.lanes.traversal import Traversal
from zo2rt.model.binding import bound
from zo2rt.model.decay import DecayRule, by_type
from zo2rt.model.discovery import Blocks, block_lists, find_blocks
from zo2rt.model.loss import LossFn, evaluating, refuse_dropout, scalar
from zo2rt.model.stacks import running_blocks
from zo2rt.model.units import Units, find_units
from zo2rt.optimizer import Objective

Log = list[tuple[str, Tensor]]
"""What one forward computed: the output of every block by name, and the loss."""


class Explored(NamedTuple):
    """A model's units, and how many forward passes one evaluation of the loss takes."""

    units: Units
    forwards: int


def explore(
    model: nn.Module,
    objective: Objective,
    *,
    adapters_with_head: bool,
    decays: DecayRule = by_type,
    weights: Weights | None = None,
) -> Explored:
    """Find the units of a model, and `self_test` it with them on the objective's example.

    ``decays`` holds where the objective leaves the rule open. Of a hollow model ``weights`` gives
    the weights, a block at a time.
    """
    _refuse_hooks(model)
    blocks = _blocks(model, objective, weights)
    presence = Presence(model, None) if weights is None else Presence(model, blocks, weights)
    seen: Log = []
    try:
        with presence.passing(), _logging(blocks, lambda: seen):
            units = find_units(
                model,
                _noting(objective.loss_fn, seen),
                objective.example,
                blocks=blocks,
                decays=decays if objective.decays is None else objective.decays,
                adapters_with_head=adapters_with_head,
            )
        return self_test(
            model, objective.loss_fn, objective.example, units=units, presence=presence, seen=seen
        )
    finally:
        presence.close()


def _noting(loss_fn: LossFn, log: Log) -> LossFn:
    """The same function, whose loss is noted."""

    def noting(model: nn.Module, batch: Any) -> Any:
        loss = loss_fn(model, batch)
        log.append(("the loss", scalar(loss).to(torch.float64)))
        return loss

    return noting


def _blocks(model: nn.Module, objective: Objective, weights: Weights | None) -> Blocks:
    """Those of the lists that are named; else of the only one, or of all that the example runs."""
    if objective.blocks is not None:
        return find_blocks(model, objective.blocks)
    lists = block_lists(model)
    if len(lists) == 1:
        return Blocks.at(model, *lists)
    with present(model, weights or own), torch.no_grad():
        return running_blocks(model, lambda: objective.loss_fn(model, objective.example))


def _refuse_hooks(model: nn.Module) -> None:
    """Accelerate's (``cpu_offload``, ``device_map``) move a module's weights around its forward."""
    hooked = [name or "the model" for name, m in model.named_modules() if "_hf_hook" in vars(m)]
    if hooked:
        raise ValueError(
            f"nobody else may move weights, because the plan says what is where; accelerate has a "
            f"hook on {hooked[0]}; load the model without device_map, or "
            f"call accelerate.hooks.remove_hook_from_module(model, recurse=True)"
        )


def self_test(
    model: nn.Module,
    loss_fn: LossFn,
    batch: Any,
    *,
    units: Units | None = None,
    presence: Presence | None = None,
    seen: Log | None = None,
) -> Explored:
    """Compare lockstep lanes with whole forwards of ``loss_fn`` on ``batch``, bit for bit.

    Lane 0 has the model's weights; lane 1 has those of the first unit that owns any in reverse
    order. Returns the units that it worked with, and the trips over them that it took. Raises
    ``ValueError`` that names the first difference; the model is left as it was. Needs the whole
    model on one device, or of a hollow one what ``presence`` shows at once, and room for a copy of
    one unit. ``seen`` is what the whole forward has computed already; every forward pass of a
    hollow model reads it from disk.
    """
    refuse_dropout(model)
    units = find_units(model, loss_fn, batch) if units is None else units
    presence = Presence(model, None) if presence is None else presence
    changed = next(unit.parameters for unit in units.order if unit.parameters)
    presence.keep(p.tensor for p in changed)
    with torch.no_grad(), evaluating(model):
        reversed_weights = [p.tensor.detach().flatten().flip(0).view(p.shape) for p in changed]
        weights: list[Callable[[], Any]] = [
            nullcontext,
            lambda: bound(changed, reversed_weights),
        ]
        with presence.passing():
            alone = [
                seen if seen is not None and lane == 0 else _alone(model, units, loss_fn, batch, of)
                for lane, of in enumerate(weights)
            ]
        together, forwards = _together(model, units, loss_fn, batch, weights, presence)
        if not _all_same(alone, together):
            with presence.passing():
                alone[0], again = (_alone(model, units, loss_fn, batch) for _ in range(2))
            _compare("the whole forward", "a second one", alone[0], again)
    for lane, (expected, got) in enumerate(zip(alone, together, strict=True)):
        _compare("the whole forward", f"lane {lane} in lockstep", expected, got)
    return Explored(units, forwards)


def _alone(
    model: nn.Module,
    units: Units,
    loss_fn: LossFn,
    batch: Any,
    binding: Callable[[], Any] = nullcontext,
) -> Log:
    log: Log = []
    with _logging(units.blocks, lambda: log), binding():
        _noting(loss_fn, log)(model, batch)
    return log


def _together(
    model: nn.Module,
    units: Units,
    loss_fn: LossFn,
    batch: Any,
    weights: list[Callable[[], Any]],
    presence: Presence,
) -> tuple[list[Log], int]:
    """Every lane's log, and how many trips over the units they took."""
    logs: list[Log] = [[] for _ in weights]
    running, trips = 0, 0
    with (
        _logging(units.blocks, lambda: logs[running]),
        Traversal(model, units, loss_fn, [batch] * len(weights)) as traversal,
    ):
        while traversal.unfinished:
            trips += 1
            for unit in units.order:
                presence.enter(unit.number)
                for running in traversal.unfinished:
                    with weights[running]():
                        traversal.advance(running, unit.number)
        for log, loss in zip(logs, traversal.losses(), strict=True):
            log.append(("the loss", loss))
    return logs, trips


@contextmanager
def _logging(blocks: Blocks, log: Callable[[], Log]) -> Iterator[None]:
    """Every block appends a copy of its output to the log of the lane that runs."""

    def hook_of(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, output: Any) -> None:
            hidden = output if isinstance(output, Tensor) else output[0]
            log().append((name, hidden.detach().clone()))

        return hook

    with ExitStack() as stack:
        for number, block in enumerate(blocks.modules):
            stack.enter_context(block.register_forward_hook(hook_of(blocks.title(number))))
        yield


def _compare(what: str, other: str, expected: Log, got: Log) -> None:
    if len(expected) != len(got):
        raise ValueError(
            f"self-test: {what} and {other} must run equally many blocks; "
            f"they ran {len(expected) - 1} and {len(got) - 1}"
        )
    for (name, a), (_, b) in zip(expected, got, strict=True):
        if not _same_bits(a, b):
            raise ValueError(
                f"self-test: {what} and {other} must give the same bits; they differ in {name}; "
                "does the model or the loss function draw random numbers, or keep results of a "
                "forward on a module?"
            )


def _all_same(some: list[Log], others: list[Log]) -> bool:
    """No message is worth a forward pass where nothing differs."""
    pairs = [*zip(some, others, strict=True)]
    return all(len(one) == len(other) for one, other in pairs) and all(
        _same_bits(a, b) for one, other in pairs for (_, a), (_, b) in zip(one, other, strict=True)
    )


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))
