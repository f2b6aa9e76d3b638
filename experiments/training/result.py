"""One fine-tuning, from the engine's construction, step by step, to what it leaves behind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from experiments.folder.write import JOURNAL
from experiments.training.batches import Batches, Weighted
from experiments.training.history import Evaluation, History
from experiments.training.loaded_model import LoadedModel
from experiments.training.settings import BackendName, Course
from experiments.training.setup import Setup, opened
from zo2rt.backends import Backend, StreamFailed
from zo2rt.data.ranking import error_rate
from zo2rt.engine.engine import Engine, MezoSgd, Objective, Room
from zo2rt.exchange import ALONE, Exchange
from zo2rt.model.loss import LossFn, model_loss
from zo2rt.steps.outcome import Outcome, finite
from zo2rt.tensor_file import weights_sha256
from zo2sim.plan.choices import Plan
from zo2sim.simulate.trace import Trace
from zo2sim.writing import writing

Reading = Callable[[int, int], None]
"""Hears of every tensor that is read how many bytes it has, and of how many in all."""


def unheard(*_: int) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a fine-tuning left. ``weights_sha256`` covers every parameter, by name."""

    history: History
    num_steps: int
    weights_sha256: str
    device_bytes: int
    swallowed: float | None
    """Fraction of updates that rounding lost, in the steps since it was begun or resumed."""
    divergence: str | None
    damaged: tuple[str, ...]
    trace: Trace
    ranks: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who looks on: ``show`` is told of every step, ``stopped`` says when to stop after one."""

    show: Callable[[Outcome], None]
    stopped: Callable[[], bool] = lambda: False


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """How to fine-tune: on which backend, with which plan, and where it is kept.

    ``own_core`` keeps the host's copies off the core that computes, as in calibration.
    Without ``folder`` nothing is journalled or saved. Buffers stay within ``limit``.
    """

    backend: BackendName
    own_core: bool
    plan: Plan
    optimizer: MezoSgd
    course: Course
    blocks: str | None = None
    folder: Path | None = None
    limit: Room
    exchange: Exchange = ALONE
    """With the other ranks; rank 0 keeps the history, and writes."""
    reading: Reading = unheard

    def run(
        self,
        prepared: Setup,
        history: Callable[[int], History],
        watch: Callable[[int], Watch],
    ) -> Trained:
        """Train what is left. ``history`` and ``watch`` are made for the steps already done."""
        loaded = prepared.load()
        if loaded.checkpoint is not None:
            total = loaded.checkpoint.num_bytes
            loaded.checkpoint.told = lambda num_bytes: self.reading(num_bytes, total)
        with (
            _files_told(),
            opened(self.backend, own_core=self.own_core, devices=self.plan.devices) as backend,
            self._engine(loaded, prepared, backend) as engine,
        ):
            kept, first = history(engine.num_steps), engine.num_steps
            fine_tune(engine, prepared.reading, self.course, kept, watch=watch(first))
            trace = engine.trace()
            engine.flush()
            if self.folder is not None and engine.num_steps >= self.course.steps:
                target = self.folder / "model"
                engine.save(target)
                if self.exchange.rank == 0:
                    with writing(target):
                        loaded.tokenizer.save_pretrained(target)
            digest = weights_sha256(engine.contents.named())
            engine.close(give_back=False)
        return Trained(
            history=kept,
            num_steps=engine.num_steps,
            weights_sha256=digest,
            device_bytes=engine.device_bytes,
            swallowed=engine.swallowed,
            divergence=engine.divergence,
            damaged=engine.damaged,
            trace=trace,
            ranks=self.exchange.size,
        )

    def _engine(self, loaded: LoadedModel, prepared: Setup, backend: Backend) -> Engine:
        return Engine(
            loaded.model,
            self.plan,
            prepared.recipe,
            Objective(example=prepared.reading.example, blocks=self.blocks),
            backend=backend,
            optimizer=self.optimizer,
            folder=None if self.folder is None else self.folder / JOURNAL,
            limit=self.limit,
            exchange=self.exchange,
            checkpoint=loaded.checkpoint,
        )


@contextmanager
def _files_told() -> Iterator[None]:
    """What could not be written is told as that, on whichever stream it was to be."""
    try:
        yield
    except StreamFailed as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise


def fine_tune(
    engine: Engine, reading: Batches, course: Course, history: History, *, watch: Watch
) -> None:
    """Run the steps that are left, or as many as come before ``watch`` says stop.

    Where it begins, an evaluation or a snapshot that was due may be missing. Of several ranks the
    first knows what was evaluated, and each may say stop.
    """
    ranks = engine.ranks
    while True:
        step = engine.num_steps
        if course.is_judged(step) and ranks.first_says(yes=not history.evaluated(step)):
            history.add(evaluate(engine, reading))
        if course.is_saved(step):
            engine.snapshot()
        if step >= course.steps or ranks.anyone_says(yes=watch.stopped()):
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
    return Evaluation(step=engine.num_steps, held_out_loss=finite(loss), accuracy=accuracy)


def _mean(engine: Engine, batches: Iterator[Weighted], loss_fn: LossFn) -> float | None:
    """Mean over the examples, or None where there are none."""
    total, count = 0.0, 0
    for examples, batch in batches:
        total += examples * engine.evaluate(batch, loss_fn)
        count += examples
    return total / count if count else None


def differences(run: Trained, other: Trained) -> tuple[str, ...]:
    """What is not the same to the bit: losses, projected gradients, evaluations, weights."""
    pairs = {
        "losses": [[line.loss for line in t.history.steps] for t in (run, other)],
        "projected gradients": [[line.g for line in t.history.steps] for t in (run, other)],
        "evaluations": [t.history.evaluations for t in (run, other)],
        "weights": [t.weights_sha256 for t in (run, other)],
    }
    return tuple(name for name, (mine, theirs) in pairs.items() if mine != theirs)
