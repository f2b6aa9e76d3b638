"""What ranks do together in tests: short runs of tiny models."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.families import batch, build
from tests.zo2rt.engine.engine_runs import OPTIMIZER
from zo2rt.backends import Backend, VirtualBackend
from zo2rt.checkpoint import Checkpoint
from zo2rt.engine.engine import Engine, MezoSgd, Objective
from zo2rt.engine.shared_host import deal_cores
from zo2rt.exchange import ALONE, Exchange
from zo2rt.model.loss import model_loss
from zo2rt.tensor_file import weights_sha256
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Recipe

AWAKE = "awake"
"""A file beside a run's folder: who hangs goes on when it is there."""


@dataclass(frozen=True)
class Task:
    """A run of a tiny OPT, kept in ``folder``; ``files`` are what it is read from by shard."""

    plan: Plan
    recipe: Recipe
    folder: Path | None
    steps: int = 4
    optimizer: MezoSgd = OPTIMIZER
    seed: int = 0
    files: Path | None = None

    def within(self, folder: Path) -> "Task":
        return replace(self, folder=folder)


@dataclass(frozen=True)
class Left:
    """What a rank holds in the end."""

    steps: int
    weights: str
    losses: tuple[float, ...]
    evaluation: float


def data(task: Task, step: int) -> dict[str, Tensor]:
    """Microbatches of unequal numbers of tokens."""
    found = batch("opt", seed=step, rows=2 * task.recipe.microbatches)
    rows = len(found["labels"])
    labels = found["labels"].clone()
    for row in range(rows):
        labels[row, 1 + row % 5 :] = -100
    return {**found, "labels": labels}


@contextmanager
def opened(
    exchange: Exchange,
    task: Task,
    loss_fn: Any = model_loss,
    backend: Callable[[], Backend] = VirtualBackend,
) -> Iterator[tuple[nn.Module, Engine]]:
    torch.set_num_threads(1)
    dtype = torch.bfloat16 if task.recipe.storage_dtype is Dtype.BF16 else torch.float32
    model: nn.Module = build("opt", dtype=dtype, seed=task.seed)
    checkpoint = None if task.files is None else Checkpoint(type(model), task.files, dtype)
    model = model if checkpoint is None else checkpoint.model
    with (
        backend() as place,
        Engine(
            model,
            task.plan,
            task.recipe,
            Objective(example=data(task, 0), loss_fn=loss_fn),
            backend=place,
            optimizer=task.optimizer,
            folder=task.folder,
            exchange=exchange,
            checkpoint=checkpoint,
        ) as engine,
    ):
        yield model, engine


def train(exchange: Exchange, task: Task, save_every: int = 3, blind: bool = False) -> Left:
    """To its last step, from wherever its folder stands; batch and rate follow the step.

    ``blind``: all but rank 0 see an empty folder in its place.
    """
    if blind and exchange.rank and task.folder is not None:
        task = task.within(task.folder / f"nowhere-{exchange.rank}")
    return _train(exchange, task, model_loss, save_every)


def _train(exchange: Exchange, task: Task, loss_fn: Any, save_every: int = 3) -> Left:
    losses: tuple[float, ...] = ()
    with opened(exchange, task, loss_fn) as (model, engine):
        while True:
            step = engine.num_steps
            if task.folder is not None and step and step % save_every == 0:
                engine.snapshot()  # due where a killed run begins, too
            if step >= task.steps:
                break
            engine.step(data(task, step), lr=task.optimizer.lr / (1 + step))
            losses = engine.record.losses
        evaluation = engine.evaluate(data(task, 0))
        steps = engine.num_steps
    return Left(steps, weights_sha256(model.named_parameters()), losses, evaluation)


def alone(task: Task) -> Left:
    """What one process does."""
    return train(ALONE, task)


def digests(folder: Path) -> dict[str, str]:
    """Of every file of a run's folder, by name."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(p for p in folder.rglob("*") if p.is_file())
    }


def nan_on_rank(exchange: Exchange, task: Task, rank: int) -> Left:
    """The losses of one rank are NaN in step 1: of a skipped step."""

    def loss(model: nn.Module, one: Any) -> Tensor:
        found = model_loss(model, one)
        first = bool((one["input_ids"][0] == data(task, 1)["input_ids"][0]).all())
        return found * float("nan") if first and exchange.rank == rank else found

    return _train(exchange, task, loss)


def raise_on_rank(exchange: Exchange, task: Task, rank: int) -> tuple[str, Left]:
    """A lane of one rank raises once; all of them go on after it."""
    raised = ""
    bad = [exchange.rank == rank]

    def loss(model: nn.Module, one: Any) -> Tensor:
        if engine_steps[0] == 2 and bad[0]:
            raise KeyError("no such label")
        return model_loss(model, one)

    engine_steps = [0]
    with opened(exchange, task, loss) as (model, engine):
        while engine.num_steps < task.steps:
            step = engine_steps[0] = engine.num_steps
            try:
                engine.step(data(task, step), lr=task.optimizer.lr / (1 + step))
            except (KeyError, RuntimeError) as error:
                raised, bad[0], engine_steps[0] = repr(error), False, -1
        evaluation = engine.evaluate(data(task, 0))
        losses, steps = engine.record.losses, engine.num_steps
    left = Left(steps, weights_sha256(model.named_parameters()), losses, evaluation)
    return raised, left


def differ(exchange: Exchange, task: Task, what: str) -> int:
    """Rank 1 does something else from step 2 on; returns how far it came."""
    mine = exchange.rank == 1
    task = replace(task, seed=1) if mine and what == "weights" else task
    if mine and what == "rule":
        task = replace(task, optimizer=replace(task.optimizer, weight_decay=0.5))
    with opened(exchange, task) as (_, engine):
        while engine.num_steps < task.steps:
            step = engine.num_steps
            other = mine and step == 2
            lr = 0.5 if other and what == "lr" else None
            engine.optimizer = replace(engine.optimizer, seed=9 if other and what == "seed" else 7)
            if other and what == "evaluate":
                engine.evaluate(data(task, 0))
            if other and what == "hang":
                _hang(task)
            if other and what == "raise":
                raise ValueError("of the user's own code")
            engine.step(data(task, step + 1 if other and what == "batch" else step), lr=lr)
        return engine.num_steps


def _hang(task: Task) -> None:
    assert task.folder is not None
    while not (task.folder.parent / AWAKE).exists():
        time.sleep(0.05)


def dawdle(exchange: Exchange, seconds: float) -> None:
    """Rank 0 is later than the others after their last exchange."""
    exchange.gather(b"", limit_s=60.0)
    time.sleep(0.0 if exchange.rank else seconds)


def begun(exchange: Exchange, task: Task, mark: Path) -> Left:
    """Training, with a mark when all ranks have met: a kill before is the launcher's matter."""
    exchange.gather(b"", limit_s=60.0)
    if exchange.rank == 0:
        mark.touch()
    return train(exchange, task)


def gathers(exchange: Exchange, lengths: list[int]) -> tuple[bytes, ...]:
    """So many bytes of each rank's number."""
    return exchange.gather(bytes([exchange.rank]) * lengths[exchange.rank], limit_s=60.0)


def cores(exchange: Exchange) -> set[int]:
    """Those that a rank may use once they are dealt."""
    before = os.sched_getaffinity(0)
    try:
        deal_cores(exchange)
        return os.sched_getaffinity(0)
    finally:
        os.sched_setaffinity(0, before)
