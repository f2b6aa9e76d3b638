"""Runs of the engine on tiny models, and whether two of them are the same to the bit."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.families import batch, build
from tests.thorough import THOROUGH
from zo2rt.backends import Backend, HostBackend
from zo2rt.checkpoint import Checkpoint
from zo2rt.engine.engine import Engine, MezoSgd, Objective
from zo2rt.journal.record import to_json
from zo2rt.journal.run import RunFolder
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.simulate.trace import Trace

NUM_STEPS = 4 if THOROUGH else 3
DEFERRED = Plan(write_back_every=NUM_STEPS - 1)
"""After its first write-back a step is left over."""
LANES = 2 if THOROUGH else 1
"""Pairs of losses of a step, where one shows what is asked."""
OPTIMIZER = MezoSgd(lr=1e-2, eps=1e-3, weight_decay=0.1, seed=7)


@dataclass(frozen=True)
class Run:
    """All that a run leaves behind."""

    losses: list[tuple[float, ...]]
    gradients: list[tuple[float, ...]]
    records: str
    """Their bodies, as a journal keeps them."""
    evaluation: float
    weights: dict[str, Tensor]
    trace: Trace


def recipe(dtype: Dtype = Dtype.FP32, **changes: Any) -> Recipe:
    return Recipe(storage_dtype=dtype, wire_dtype=dtype, compute_dtype=dtype, **changes)


def run(
    family: str,
    plan: Plan,
    how: Recipe,
    backend: Callable[[], Backend] = HostBackend,
    *,
    flush_after: int | None = None,
) -> Run:
    torch_dtype = torch.bfloat16 if how.storage_dtype is Dtype.BF16 else torch.float32
    model = build(family, dtype=torch_dtype)
    data = [batch(family, seed=s, rows=2 * how.microbatches) for s in range(NUM_STEPS)]
    losses: list[tuple[float, ...]] = []
    gradients: list[tuple[float, ...]] = []
    records: list[dict[str, Any]] = []
    with engine(model, plan, how, data[0], backend) as trained:
        for number, one in enumerate(data):
            trained.step(one)
            losses.append(trained.record.losses)
            gradients.append(tuple(draw.g for draw in trained.record.draws))
            records.append(to_json(trained.record))
            if number == flush_after:
                trained.flush()
        trace = trained.trace()
        evaluation = trained.evaluate(data[0])
        assert trained.divergence is None
    bodies = json.dumps(records)
    return Run(losses, gradients, bodies, evaluation, dict(model.state_dict()), trace)


@cache
def resident(family: str, how: Recipe) -> Run:
    """The run that every plan is compared with; nobody changes it."""
    return run(family, Plan(policy=Policy.RESIDENT), how)


def losses_of(trained: Engine, data: Iterable[dict[str, Tensor]]) -> list[tuple[float, ...]]:
    """Every lane's, of a step on each batch."""
    found: list[tuple[float, ...]] = []
    for one in data:
        trained.step(one)
        found.append(trained.record.losses)
    return found


@contextmanager
def engine(
    model: nn.Module,
    plan: Plan,
    how: Recipe,
    example: dict[str, Tensor],
    backend: Callable[[], Backend] = HostBackend,
    optimizer: MezoSgd = OPTIMIZER,
    folder: Path | RunFolder | None = None,
    checkpoint: Checkpoint | None = None,
) -> Iterator[Engine]:
    objective = Objective(example=example)
    with (
        backend() as place,
        Engine(
            model,
            plan,
            how,
            objective,
            backend=place,
            optimizer=optimizer,
            folder=folder,
            checkpoint=checkpoint,
        ) as trained,
    ):
        yield trained


def same(one: Run, other: Run) -> None:
    assert one.losses == other.losses
    assert one.gradients == other.gradients
    assert one.records == other.records
    assert one.evaluation == other.evaluation
    different = [k for k, v in one.weights.items() if not torch.equal(v, other.weights[k])]
    assert different == []
