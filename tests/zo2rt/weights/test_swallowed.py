"""Updates that rounding swallows: what counts, what does not, and when it is worth telling."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from tests.families import batch, build
from tests.zo2rt.engine.engine_runs import engine, recipe
from zo2rt.engine.engine import MezoSgd
from zo2rt.model.units import UnitParameter
from zo2rt.noise import Draw, Update
from zo2rt.weights.swallowed import Swallowed, told
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan

MATRIX = UnitParameter(
    index=0, name="w", shape=(2, 2), trainable=True, decays=True, tensor=nn.Parameter(torch.ones(1))
)


ONE = Update(draws=(Draw(key=1, g=1.0),), lr=1.0, weight_decay=0.0)


def watched(
    counts: Swallowed, theta: Tensor, updates: Sequence[Update] = (ONE,), *, plus: float = 0.0
) -> Swallowed:
    with counts.watching(MATRIX, theta, updates):
        theta[0] += plus
    return counts


def halves() -> Tensor:
    return torch.tensor([1.0, 2.0, -3.0, 4.0], dtype=torch.bfloat16)


def test_what_an_update_leaves_as_it_was_is_counted():
    assert watched(Swallowed(), halves(), plus=1.0).fraction == 0.75


def test_nothing_is_known_before_anything_was_looked_at():
    assert Swallowed().fraction is None
    assert watched(Swallowed(), halves().float()).fraction is None


def test_where_every_step_was_skipped_no_update_is_swallowed():
    assert watched(Swallowed(), halves(), ()).fraction is None
    assert watched(Swallowed(), halves(), (ONE,)).fraction == 1.0


def test_weights_that_are_not_trained_do_not_count():
    """Above the threshold of Sparse-MeZO, by magnitude before the update."""
    counts = Swallowed(thresholds={"w": 2.0})
    assert watched(counts, halves(), plus=2.0).fraction == 0.5
    assert counts.seen == 2


def test_an_engine_does_not_count_what_sparsity_keeps():
    found: list[float] = []
    for sparsity in (0.0, 0.9):
        model, data = build("opt", dtype=torch.bfloat16), batch("opt")
        optimizer = MezoSgd(lr=1e-2, seed=1, sparsity=sparsity)
        with engine(model, Plan(), recipe(Dtype.BF16), data, optimizer=optimizer) as trained:
            for _ in range(4):
                trained.step(data)
            trained.flush()
            assert trained.swallowed is not None
            found.append(trained.swallowed)
    assert max(found) < 0.5, found


@pytest.mark.parametrize("fraction", [None, 0.0, 0.0999])
def test_a_little_is_not_worth_telling(fraction: float | None):
    assert told(fraction, remedy="do something") is None


def test_much_is_told_with_what_to_do():
    assert told(0.1, remedy="do something") == (
        "rounding swallowed about 10% of the updates, which were smaller than half the grid of "
        "their weights; do something"
    )
