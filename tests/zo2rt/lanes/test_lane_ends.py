"""Errors, refusals and interruptions of lanes leave no trace on the model and no thread."""

import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack

import pytest
import torch
from torch import Tensor, nn

from tests.families import batch, build
from tests.zo2rt.lanes.lockstep import (
    chain,
    condition,
    lockstep,
    mean_square,
    random_weights,
    tokens,
    units_of,
    with_lane,
)
from zo2rt.lanes.traversal import Traversal
from zo2rt.model.loss import model_loss
from zo2rt.model.units import find_units
from zo2sim.schedule.ops import HEAD, TAIL


def broken(model: nn.Module, item: Tensor) -> Tensor:
    model(item)
    raise LookupError("no such label")


def test_an_error_reaches_the_caller_with_the_lanes_traceback():
    model = chain()
    with pytest.raises(LookupError, match="no such label") as caught:
        lockstep(model, units_of(model), broken, [tokens()])
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-1] == "broken"
    assert "advance" in frames


def test_a_failed_lane_does_not_run_on():
    model = chain()
    with Traversal(model, units_of(model), broken, [tokens()]) as traversal:
        for unit in (HEAD, 0, 1, 2):
            traversal.advance(0, unit)
        with pytest.raises(LookupError):
            traversal.advance(0, TAIL)
        with pytest.raises(RuntimeError, match="lane 0 has ended without a loss"):
            traversal.advance(0, TAIL)
        with pytest.raises(ValueError, match="must have returned its loss; it ended with an error"):
            traversal.losses()


@pytest.mark.parametrize("loss_fn", [mean_square, broken])
@pytest.mark.parametrize("steps", range(6))
def test_the_model_is_left_as_it_was(steps: int, loss_fn: Callable[..., Tensor]):
    model = chain(seed=3)
    model.norm.train()
    model.head.weight.requires_grad_(False)
    model.steps[0].register_forward_pre_hook(lambda *_: None)
    before, threads = condition(model), threading.active_count()
    units = units_of(model)
    weights = [random_weights(units, seed) for seed in range(2)]
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(LookupError))
        traversal = stack.enter_context(Traversal(model, units, loss_fn, [tokens(), tokens(1)]))
        for unit in units.order[:steps]:
            for lane in range(2):
                with_lane(traversal, units, lane, unit.number, weights)
        assert not any(m.training for m in model.modules())
        raise LookupError
    assert condition(model) == before
    assert threading.active_count() == threads


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_closing_ends_lanes_that_swallow_errors(steps: int):
    def stubborn(model: nn.Module, item: Tensor) -> Tensor:
        try:
            return mean_square(model, item)
        except BaseException:
            return mean_square(model, item)

    model, threads = chain(), threading.active_count()
    units = units_of(model)
    with Traversal(model, units, stubborn, [tokens()]) as traversal:
        for unit in units.order[:steps]:
            traversal.advance(0, unit.number)
        assert threading.active_count() == threads + 1
    assert threading.active_count() == threads
    traversal.close()
    with pytest.raises(RuntimeError, match="lane 0 has ended without a loss"):
        traversal.advance(0, 1)


class Interrupted(Exception):
    """Stands for Ctrl-C."""


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(),
    reason="signals reach the main thread",
)
def test_an_interrupted_traversal_can_only_be_closed():
    def interrupting(model: nn.Module, item: Tensor) -> Tensor:
        hidden = model(item)
        signal.raise_signal(signal.SIGUSR1)
        time.sleep(0.05)  # the caller is interrupted while the lane runs
        return hidden.mean()

    def handler(*_: object) -> None:
        raise Interrupted

    model, threads = chain(), threading.active_count()
    units, before = units_of(model), condition(model)
    former = signal.signal(signal.SIGUSR1, handler)
    try:
        with Traversal(model, units, interrupting, [tokens()] * 2) as traversal:
            for unit in (HEAD, 0, 1, 2):
                traversal.advance(0, unit)
            with pytest.raises(Interrupted):
                traversal.advance(0, TAIL)
            with pytest.raises(RuntimeError, match="was interrupted while lane 0 ran the tail"):
                traversal.advance(1, HEAD)
    finally:
        signal.signal(signal.SIGUSR1, former)
    assert condition(model) == before
    assert threading.active_count() == threads


def test_the_model_may_be_used_beside_a_traversal():
    model = chain()
    units = units_of(model)
    expected = model(tokens())
    with Traversal(model, units, mean_square, [tokens()]) as traversal:
        traversal.advance(0, HEAD)
        assert torch.equal(model(tokens()), expected)
        for unit in (0, 1, 2, TAIL):
            traversal.advance(0, unit)
        assert traversal.losses()[0] == mean_square(model, tokens()).double()


def test_active_dropout_is_refused_by_name():
    model = build("opt")
    units = find_units(model, model_loss, batch("opt"))
    model.train()
    with pytest.raises(ValueError, match=r"on in model.decoder, .*; call model.eval\(\)"):
        Traversal(model, units, model_loss, [batch("opt")])


def test_dropout_modules_count_while_they_train():
    model = chain()
    units = units_of(model)
    model.register_module("dropout", nn.Dropout(0.1).eval())
    Traversal(model, units, mean_square, [tokens()]).close()
    model.train()
    with pytest.raises(ValueError, match="it is on in dropout; call"):
        Traversal(model, units, mean_square, [tokens()])


def test_a_parameter_that_was_replaced_is_named():
    model = build("opt")
    units = find_units(model, model_loss, batch("opt"))
    name = next(n for n, _ in model.named_parameters() if n.endswith("1.final_layer_norm.bias"))
    norm = model.get_submodule(name.rpartition(".")[0])
    norm.bias = nn.Parameter(model.get_parameter(name).detach().clone())
    with pytest.raises(ValueError, match=r"layers\.1\.final_layer_norm\.bias is another one now"):
        Traversal(model, units, model_loss, [batch("opt")])


def test_a_traversal_needs_a_lane():
    model = chain()
    with pytest.raises(ValueError, match="at least 1 lane"):
        Traversal(model, units_of(model), mean_square, [])
