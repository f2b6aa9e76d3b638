"""The loop of `run`: steps, evaluations and snapshots, each where the course has it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from experiments.training.batches import Batches, Weighted
from experiments.training.course import Course
from experiments.training.history import Evaluation, History
from zo2rt.data.ranking import error_rate
from zo2rt.engine.engine import Engine
from zo2rt.model.loss import LossFn, model_loss
from zo2rt.steps.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who looks on: ``show`` is told of every step, ``stopped`` says when to stop after one."""

    show: Callable[[Outcome], None]
    stopped: Callable[[], bool] = lambda: False


def fine_tune(
    engine: Engine, reading: Batches, course: Course, history: History, *, watch: Watch
) -> None:
    """Run the steps that are left, or as many as come before ``watch`` says stop."""
    first = engine.num_steps
    while True:
        step = engine.num_steps
        if course.is_judged(step) and not history.evaluated(step):
            history.add(evaluate(engine, reading))
        if course.is_saved(step) and step > first:
            engine.snapshot()
        if step >= course.steps or watch.stopped():
            return
        outcome = engine.step(reading.step(engine.cursor), lr=course.lr_at(step))
        history.add(outcome)
        watch.show(outcome)


def evaluate(engine: Engine, reading: Batches) -> Evaluation:
    """Loss and accuracy on what was held out."""
    error = _mean(engine, reading.questions(), error_rate)
    loss = _mean(engine, reading.judged(), model_loss)
    assert loss is not None, "something is always held out"
    accuracy = None if error is None else 1.0 - error
    return Evaluation(step=engine.num_steps, held_out_loss=loss, accuracy=accuracy)


def _mean(engine: Engine, batches: Iterator[Weighted], loss_fn: LossFn) -> float | None:
    """Mean over the examples, or None where there are none."""
    total, count = 0.0, 0
    for examples, batch in batches:
        total += examples * engine.evaluate(batch, loss_fn)
        count += examples
    return total / count if count else None
