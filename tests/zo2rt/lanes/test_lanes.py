"""Lanes in lockstep compute what each would alone, and leave no trace on the model."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.families import FAMILIES, batch, build
from tests.thorough import crossed
from tests.zo2rt.lanes.lockstep import (
    Chain,
    chain,
    lockstep,
    mean_square,
    one_by_one,
    random_weights,
    tokens,
    trip,
    twice,
    units_of,
    with_lane,
)
from zo2rt.lanes.traversal import Traversal
from zo2rt.model.loss import model_loss
from zo2rt.model.units import find_units
from zo2sim.schedule.ops import HEAD, TAIL


@pytest.mark.parametrize(
    ("family", "dtype"), crossed([*FAMILIES], [torch.float32, torch.bfloat16]), ids=str
)
def test_every_family_gives_the_bits_of_whole_forwards(family: str, dtype: torch.dtype):
    model = build(family, dtype=dtype)
    batches = [batch(family, seed=seed) for seed in range(2)]
    units = find_units(model, model_loss, batches[0])
    with torch.inference_mode():
        expected = one_by_one(model, units, model_loss, batches)
        assert lockstep(model, units, model_loss, batches) == expected
    assert expected[0] != expected[1]


def test_autocast_gives_the_bits_of_whole_forwards():
    model = build("llama-tied")
    batches = [batch("llama-tied", seed=seed) for seed in range(2)]
    units = find_units(model, model_loss, batches[0])
    plain = one_by_one(model, units, model_loss, batches)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = one_by_one(model, units, model_loss, batches)
        assert lockstep(model, units, model_loss, batches) == expected
    assert expected != plain


def test_any_python_may_be_the_loss():
    def accuracy(model: nn.Module, item: Tensor) -> float:
        return (model(item).argmax(-1) == item).float().mean().item()

    def weighted(model: nn.Module, item: Tensor) -> Tensor:
        logits = model(item)
        return sum((functional.cross_entropy(logits, item) * k for k in (1, 2)), torch.zeros(()))

    model = chain()
    units = units_of(model)
    for loss_fn in (accuracy, weighted):
        batches = [tokens(seed) for seed in range(3)]
        expected = one_by_one(model, units, loss_fn, batches)
        assert lockstep(model, units, loss_fn, batches) == expected


def test_losses_are_float64_in_lane_order():
    model = chain()
    units = units_of(model)
    weights = [random_weights(units, seed) for seed in range(2)]
    with Traversal(model, units, mean_square, [tokens(), tokens()]) as traversal:
        for unit in units.order:
            for lane in (1, 0):
                with_lane(traversal, units, lane, unit.number, weights)
        losses = traversal.losses()
    assert (losses.dtype, tuple(losses.shape)) == (torch.float64, (2,))
    returned = [loss.dtype for loss in traversal.returned()]
    assert losses.tolist() == one_by_one(model, units, mean_square, [tokens(), tokens()])
    assert returned == [torch.float32] * 2, "what the loss function gave is kept as well"


def test_a_loss_that_is_changed_after_its_return_is_the_one_returned():
    running = torch.zeros(())

    def accumulated(model: nn.Module, item: Tensor) -> Tensor:
        return running.copy_(mean_square(model, item))

    model = chain()
    batches = [tokens(0), tokens(1)]
    expected = one_by_one(model, units_of(model), mean_square, batches)
    assert lockstep(model, units_of(model), accumulated, batches) == expected


# Order.


@pytest.mark.parametrize(
    ("visits", "expected", "entered"),
    [
        ([0, 2], r"block 1 \(steps.1\)", r"block 2 \(steps.2\)"),
        ([0, 0, 1, 2], r"block 1 \(steps.1\)", r"block 0 \(steps.0\)"),
        ([1, 0, 2], r"block 0 \(steps.0\)", r"block 1 \(steps.1\)"),
        ([0, 1, 2, 2], "the end of the forward", r"block 2 \(steps.2\)"),
        ([0, 1], r"block 2 \(steps.2\)", r"norm \(read in tail\)"),
        ([], r"block 0 \(steps.0\)", r"norm \(read in tail\)"),
    ],
)
def test_another_order_of_blocks_is_refused_by_name(visits: list[int], expected: str, entered: str):
    model = chain()
    units = units_of(model)
    model.visits = visits
    with pytest.raises(ValueError, match=f"lane 0: {expected} was expected, but {entered} was ent"):
        lockstep(model, units, mean_square, [tokens()])


def test_a_refusal_stands_even_if_the_loss_function_catches_it():
    def careless(model: nn.Module, item: Tensor) -> Tensor:
        try:
            return mean_square(model, item)
        except ValueError:
            return torch.zeros(())

    model = chain()
    units = units_of(model)
    model.visits = [0, 2]
    with pytest.raises(ValueError, match=r"block 1 .* was expected"):
        lockstep(model, units, careless, [tokens()])


def test_the_caller_must_follow_the_order_too():
    model = chain()
    units = units_of(model)
    with Traversal(model, units, mean_square, [tokens()]) as traversal:
        with pytest.raises(
            ValueError, match="lane 0 must run the head next; it was told to run th"
        ):
            traversal.advance(0, 0)
        traversal.advance(0, HEAD)
        with pytest.raises(ValueError, match=r"must run the block 0 \(steps.0\) next; .* the tail"):
            traversal.advance(0, TAIL)


def test_a_loss_that_never_runs_the_model_is_refused():
    model = chain()
    with pytest.raises(ValueError, match=r"must run the model; it returned .* entering block 0"):
        lockstep(model, units_of(model), lambda model, item: 0.5, [tokens()])


def test_a_loss_must_be_a_scalar():
    model = chain()
    with pytest.raises(ValueError, match=r"scalar tensor or a number; got a tensor of shape \(5,"):
        lockstep(model, units_of(model), lambda model, item: model(item), [tokens()])


# Leaving early, and coming back.


def test_a_lane_that_is_finished_leaves_the_others_alone():
    def early(model: nn.Module, item: Tensor) -> Tensor:
        assert isinstance(model, Chain)
        if item.sum() >= 0:
            return mean_square(model, item)
        hidden = model.steps[0](model.embed(-item))  # looks at the first block only
        return hidden.square().mean()

    model = chain()
    units = units_of(model, early)
    batches = [tokens(0), -tokens(1), tokens(2)]
    weights = [random_weights(units, seed) for seed in range(3)]
    expected = one_by_one(model, units, early, batches)
    with Traversal(model, units, early, batches) as traversal:
        unfinished = []
        for unit in units.order:
            for lane in range(3):
                with_lane(traversal, units, lane, unit.number, weights)
            unfinished.append(traversal.unfinished)
        assert traversal.losses().tolist() == expected
    assert unfinished == [(0, 1, 2), (0, 2), (0, 2), (0, 2), ()]


def test_a_second_forward_is_named_where_it_is_not_expected():
    model = chain()
    with pytest.raises(ValueError, match=r"enters the model a second time \(forward 2\): run anot"):
        lockstep(model, units_of(model, twice), twice, [tokens()])


@pytest.mark.parametrize("tied", [False, True])
def test_more_forwards_run_in_more_traversals(tied: bool):
    def some(model: nn.Module, item: Tensor) -> Tensor:
        return twice(model, item) if item[0] >= 4 else mean_square(model, item)

    model = chain(tied=tied)
    units = units_of(model, some)
    batches = [torch.tensor([first, 1, 2]) for first in (7, 0, 5)]
    weights = [random_weights(units, seed) for seed in range(3)]
    with Traversal(model, units, some, batches) as traversal:
        trip(traversal, units, weights)
        assert traversal.unfinished == (0, 2)
        trip(traversal, units, weights)
        assert traversal.losses().tolist() == one_by_one(model, units, some, batches)


def test_a_forward_may_be_spelled_out():
    """Nobody calls the model itself, so its first part shows that another forward begins."""

    def parts(model: nn.Module, item: Tensor) -> Tensor:
        assert isinstance(model, Chain)
        total = torch.zeros(())
        for _ in range(2):
            hidden = model.embed(item)
            for step in model.steps:
                hidden = step(hidden)
            total = model.head(model.norm(hidden)).square().mean() - total
        return total

    model = chain()
    units = units_of(model)
    weights = [random_weights(units, seed) for seed in range(2)]
    with Traversal(model, units, parts, [tokens(), tokens(1)]) as traversal:
        trip(traversal, units, weights)
        trip(traversal, units, weights)
        expected = one_by_one(model, units, parts, [tokens(), tokens(1)])
        assert traversal.losses().tolist() == expected


def test_generate_runs_in_more_traversals():
    def generated(model: Any, item: Tensor) -> Tensor:
        answer = model.generate(item, max_new_tokens=3, do_sample=False, pad_token_id=0)
        return answer.double().mean()

    model = build("llama")
    prompts = [batch("llama", seed=seed, rows=1)["input_ids"] for seed in range(2)]
    units = find_units(model, generated, prompts[0])
    weights = [random_weights(units, seed) for seed in range(2)]
    with torch.no_grad(), Traversal(model, units, generated, prompts) as traversal:
        trips = 0
        while traversal.unfinished:
            trip(traversal, units, weights)
            trips += 1
        assert traversal.losses().tolist() == one_by_one(model, units, generated, prompts)
    assert trips == 3


def test_hidden_states_may_be_part_of_the_loss():
    def depth(model: nn.Module, item: Any) -> Tensor:
        output = model(**item, output_hidden_states=True)
        return output.loss + sum(hidden.square().mean() for hidden in output.hidden_states)

    model = build("llama-tied")
    batches = [batch("llama-tied", seed=seed) for seed in range(2)]
    units = find_units(model, depth, batches[0])
    with torch.no_grad():
        assert lockstep(model, units, depth, batches) == one_by_one(model, units, depth, batches)


@pytest.mark.parametrize("asked", [None, True], ids=["as configured", "asked for"])
def test_a_lane_keeps_the_keys_and_values_of_its_blocks_only_where_the_loss_asks(
    asked: bool | None,
):
    model, kept = build("llama"), list[bool]()
    config: Any = model.config
    assert config.use_cache

    def loss_fn(model: nn.Module, data: Any) -> Tensor:
        out = model(**data) if asked is None else model(**data, use_cache=asked)
        kept.append(out.past_key_values is not None)
        return out.loss

    units = find_units(model, loss_fn, batch("llama"))
    with torch.no_grad(), Traversal(model, units, loss_fn, [batch("llama")]) as traversal:
        assert config.use_cache is False
        for unit in units.order:
            traversal.advance(0, unit.number)
    assert set(kept) == {bool(asked)}
    assert config.use_cache is True
