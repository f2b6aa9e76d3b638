"""Runs that differ in the format of their base alone, seed by seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from experiments.accuracy.classifier import Tokens, adapted, hits, loaded, loss
from experiments.accuracy.paragraphs import Documents, Labelled, paragraphs
from zo2rt.backends import HostBackend
from zo2rt.engine import Engine, MezoSgd, Objective
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Recipe

SHOTS = 4
"""Examples of each class that prototypes begin as the mean of; they are trained on, too."""
_JUDGED_AT_ONCE = 40
_EACH = 400  # paragraphs of a class to train on


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What all runs have in common. The rate falls to 0 in a straight line."""

    model: Path
    steps: int
    lr: float
    eps: float
    rank: int
    batch: int
    sequence: int
    held_out: int

    def recipe(self, dtype: Dtype) -> Recipe:
        return Recipe(
            batch=self.batch,
            sequence=self.sequence,
            trainable=f"lora:{self.rank}",
            storage_dtype=dtype,
            wire_dtype=dtype,
            compute_dtype=Dtype.FP32,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Held-out accuracies of one run: of the base with its prototypes, and after training."""

    seed: int
    dtype: Dtype
    before: float
    after: float
    loss_before: float
    loss_after: float
    sha256: str
    """Of the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of a format's accuracy from the dense run's, over seeds; in shares, with its error."""

    dtype: Dtype
    mean: float
    standard_error: float | None
    """None of a single seed."""


def run(
    course: Course, packages: Sequence[Documents], dtype: Dtype, seed: int, done: Callable[[], None]
) -> Score:
    """One fine-tuning: a seed has the same text, order, adapters and noise in every format."""
    text = paragraphs(
        packages, training=_EACH, held_out=course.held_out // len(packages), seed=seed
    )
    tokens = Tokens(course.model, course.sequence)
    first = tuple(row for label in range(len(packages)) for row in _shots(text.training, label))
    model = adapted(loaded(course.model, tokens.batch(first), len(packages)), course.rank, seed)
    optimizer = MezoSgd(lr=course.lr, eps=course.eps, seed=seed)
    objective = Objective(example=tokens.batch(text.training[:2]), loss_fn=loss)
    with (
        HostBackend() as backend,
        Engine(
            model, Plan(), course.recipe(dtype), objective, backend=backend, optimizer=optimizer
        ) as engine,
    ):
        before = _judged(engine, tokens, text.held_out)
        for step in range(course.steps):
            rows = _rows(text.training, step * course.batch, course.batch)
            engine.step(tokens.batch(rows), lr=course.lr * (1.0 - step / course.steps))
            done()
        after = _judged(engine, tokens, text.held_out)
    return Score(
        seed=seed,
        dtype=dtype,
        before=before[0],
        after=after[0],
        loss_before=before[1],
        loss_after=after[1],
        sha256=text.sha256,
    )


def difference(scores: Sequence[Score], dtype: Dtype, dense: Dtype) -> Difference:
    """Paired by seed, so that what a seed makes easy or hard cancels."""
    after = {(score.dtype, score.seed): score.after for score in scores}
    pairs = [after[dtype, s] - after[dense, s] for d, s in after if d is dtype]
    error = stdev(pairs) / len(pairs) ** 0.5 if len(pairs) > 1 else None
    return Difference(dtype=dtype, mean=fmean(pairs), standard_error=error)


def _shots(rows: Sequence[Labelled], label: int) -> tuple[Labelled, ...]:
    return tuple(row for row in rows if row[1] == label)[:SHOTS]


def _rows(rows: Sequence[Labelled], first: int, count: int) -> list[Labelled]:
    return [rows[i % len(rows)] for i in range(first, first + count)]


def _judged(engine: Engine, tokens: Tokens, rows: Sequence[Labelled]) -> tuple[float, float]:
    """Accuracy and mean loss."""
    right = lost = 0.0
    for first in range(0, len(rows), _JUDGED_AT_ONCE):
        part = rows[first : first + _JUDGED_AT_ONCE]
        batch = tokens.batch(part)
        right += len(part) * engine.evaluate(batch, hits)
        lost += len(part) * engine.evaluate(batch, loss)
    return right / len(rows), lost / len(rows)
