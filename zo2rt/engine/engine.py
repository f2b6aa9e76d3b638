"""The engine: fine-tune a model with a plan, one step at a time.

objective, optimizer = Objective(example=batches[0]), MezoSgd(lr=1e-6)
with Engine(model, plan, recipe, objective, backend=backend, optimizer=optimizer) as engine:
    for batch in batches:
        print(engine.step(batch).loss)
model.save_pretrained(folder)
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import torch
from torch import Tensor, nn

from zo2rt.backends import Backend
from zo2rt.checkpoint import Checkpoint
from zo2rt.engine.assembly import Settings, assemble
from zo2rt.engine.contents import Contents
from zo2rt.engine.microbatches import lane_batches, lane_devices, split, tokens
from zo2rt.exchange import ALONE, Exchange, ExchangeError
from zo2rt.exchange.ranks import Ranks
from zo2rt.journal import Record
from zo2rt.journal.run import RunFolder
from zo2rt.lanes.traversal import Traversal
from zo2rt.memory.room import UNLIMITED, Room
from zo2rt.model.loss import LossFn
from zo2rt.model.units import Units
from zo2rt.noise import sample_key
from zo2rt.optimizer import MezoSgd, Objective
from zo2rt.steps.executor import Executor
from zo2rt.steps.outcome import Outcome
from zo2rt.steps.step import Step
from zo2rt.steps.supported import check_fulfilled
from zo2rt.steps.timeline import Timeline
from zo2rt.weights.pending import PendingUpdates
from zo2sim.memory.account import DoesNotFit
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import build, flush
from zo2sim.schedule.ops import Kind, Program, Schedule
from zo2sim.simulate.trace import Trace
from zo2sim.writing import writing

__all__ = ["DoesNotFit", "Engine", "MezoSgd", "Objective", "Room"]

_EVALUATION = -1  # the step number under which an evaluation's lanes run


class Engine:
    """Owns a model's weights from construction to ``close``, which gives them back, trained.

    A batch is a mapping of tensors whose first dimension is microbatches x batch; the recipe
    splits it. A recipe with a ``reference`` repeats a run of MeZO's or ZO2's code to the last bit:
    give `step` the seed that the other run drew (``zo_random_seed``) and its rate, and leave the
    objective's rule of decay open, which is then the other code's. ``folder`` keeps the run's
    journal and snapshots; if it holds a run, that run goes on with the bits of one that was never
    interrupted, and ``num_steps`` says how far it came. Of a `Checkpoint`'s model, give that as
    ``checkpoint``: its weights are read into the engine's buffers, a tensor in memory at a time.

    Raises ``ValueError`` where plan and recipe cannot be combined or executed, the model has
    another dtype, its lanes in lockstep do not give the bits of its whole forward, or the run in
    ``folder`` is another one, or was of a model with another frozen part; ``BlockingIOError`` where
    another engine is at work there. Raises `DoesNotFit`, with nothing allocated or written, where
    its buffers need more memory than can become free, or more than ``limit``.

    With an ``exchange`` it is one rank of several: every rank is given the same and makes the same
    calls, with whole batches, of which each takes some lanes; rank 0 alone writes. Records and
    weights are those of one process. Raises `ExchangeError` where a rank is gone or differs.
    """

    def __init__(  # noqa: PLR0913 - each is one decision of the caller's
        self,
        model: nn.Module,
        plan: Plan,
        recipe: Recipe,
        objective: Objective,
        *,
        backend: Backend,
        optimizer: MezoSgd,
        folder: Path | RunFolder | None = None,
        limit: Room = UNLIMITED,
        exchange: Exchange = ALONE,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.optimizer = optimizer
        self._model, self._recipe, self._backend = model, recipe, backend
        self._loss_fn = objective.loss_fn
        settings = Settings(
            plan=plan,
            recipe=recipe,
            objective=objective,
            optimizer=optimizer,
            folder=RunFolder(folder) if isinstance(folder, Path) else folder,
            limit=limit,
            exchange=exchange,
            checkpoint=checkpoint,
        )
        self._parts = parts = assemble(model, settings, backend)
        self.contents = Contents(model, parts.residence, settings.base)
        self.program: Program = build(parts.layout.shape, plan, recipe)
        check_fulfilled(self.program, parts.units, parts.layout)
        self.num_steps = parts.first_step
        self._first_step = self.num_steps
        self._executor = self._fresh_executor()
        self._timeline = Timeline(self.program, self.num_steps)
        trained = (p.tensor for p in parts.units.parameters if p.trainable)
        self._updates = PendingUpdates(trained, apply=self.flush)
        self._is_open = True
        self._broken: str | None = None

    @property
    def units(self) -> Units:
        """Units of the model, with every parameter's index, owner and decay."""
        return self._parts.units

    @property
    def ranks(self) -> Ranks:
        """This rank, and what can be asked of the others."""
        return self._parts.ranks

    @property
    def device_bytes(self) -> int:
        """Bytes of the runtime's own device buffers: slots, scratch, resident units."""
        return self._parts.arena.device_bytes

    @property
    def cursor(self) -> int:
        """Number of the first microbatch that the next step reads."""
        return self.num_steps * self._recipe.microbatches

    @property
    def record(self) -> Record:
        """What a journal keeps of the latest step: every lane's loss, and every sample's draw."""
        return self._parts.operations.kept[self.num_steps - 1]

    @property
    def swallowed(self) -> float | None:
        """Fraction of sampled weights that their updates left as they were.

        None where none was looked at: of fp32 masters, and of updates on an accelerator.
        """
        return self._parts.operations.swallowed.fraction

    @property
    def damaged(self) -> tuple[str, ...]:
        """What was passed over, or cut off the journal, when the run was resumed."""
        return () if self._parts.run is None else self._parts.run.damaged

    @property
    def divergence(self) -> str | None:
        """How what ran differs from what was scheduled, in all that has been flushed; or None."""
        return self._timeline.divergence

    def step(
        self, batch: Mapping[str, Tensor], *, lr: float | None = None, seed: int | None = None
    ) -> Outcome:
        """One step: both forwards of every lane, and the losses. Its update is applied in time.

        Who reads a trained parameter between two steps has it applied at once, as `flush` does.
        ``lr`` and ``seed`` hold for this step alone; 0 is a seed and a learning rate. With torch
        noise ``seed`` seeds PyTorch's generator as it is, and sample i has ``seed + i``. What the
        loss raises, or the model on this batch, is raised here; the step is undone then (in place,
        but for rounding), and another can be made.
        """
        start_s, number = perf_counter(), self.num_steps
        self._check_usable()
        microbatches = split(batch, self._recipe.microbatches)
        self.ranks.reads(batch)
        self._updates.end()
        try:
            self._make(number, microbatches, lr, seed)
        finally:
            self._updates.begin()
        wall_s = perf_counter() - start_s
        g, *_ = self._parts.operations.steps[number].projected_gradients
        self._parts.operations.forget(number, kept=self.program.period.steps)
        self.num_steps += 1
        with self._breakable("the end of a step"):
            self._timeline.add(self._executor.ended())
        return Outcome.of(
            self.record,
            tokens=tokens(batch),
            g=g,
            wall_s=wall_s,
            exposed_s=max(0.0, wall_s - self._timeline.computed_s(number)),
        )

    def evaluate(self, batch: Mapping[str, Tensor], loss_fn: LossFn | None = None) -> float:
        """Mean over the microbatches of the loss, or of any other scalar of the model.

        With the current weights, every pending update included, block by block. The function may
        run the model as often as it likes (``generate``); what it raises is raised here.
        """
        microbatches = split(batch, self._recipe.microbatches)
        self.ranks.meet("evaluate")
        self.flush()
        trip = self.program.evaluate.without(Kind.LOSS)  # losses are read here
        steps = self._parts.operations.steps
        with (
            torch.no_grad(),
            self._traversal(microbatches, trip, range(len(microbatches)), loss_fn) as traversal,
        ):
            step = steps[_EVALUATION] = Step(optimizer=self.optimizer, traversal=traversal)
            while traversal.unfinished and step.error is None:
                self._run(trip, _EVALUATION)
            del steps[_EVALUATION]
            if step.error is not None:
                raise step.error
            losses = [float(loss) for loss in traversal.losses()]
        return math.fsum(losses) / len(losses)

    def flush(self) -> None:
        """Apply every pending update, so that the model's parameters show it."""
        self._updates.end()
        self._check_usable()
        if self.num_steps == self._first_step:
            return
        with self._breakable("a flush"):
            self._timeline.add(self._executor.spans())
        self._timeline.flushed(self.num_steps)
        done = self.num_steps - self._first_step
        with torch.no_grad():
            self._run(flush(self._parts.layout, done), self.num_steps)
        self._executor = self._fresh_executor()
        self._first_step = self.num_steps

    def snapshot(self) -> Path:
        """Flush, and write a durable snapshot; records before it are archived.

        Raises ``ValueError`` for a run without a folder.
        """
        if self._parts.run is None:
            raise ValueError("a snapshot needs a journalled run; make the engine with a folder")
        with self.ranks.together("snapshot"):
            self.flush()
            return self._parts.run.snapshot(self._parts.residence.weights())

    def save(self, folder: Path) -> None:
        """Flush, and write a plain Hugging Face folder with safetensors; with PEFT, the adapters.

        Weights on NVMe or in an integer format are in memory one tensor at a time, dense.
        """
        with self.ranks.together("save") as writes, writing(folder):
            self.flush()
            if writes:
                self.contents.write(folder)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Flush; inside, every parameter shows its weights, and nothing of the engine may run.

        See `Contents.whole`: what is in an integer format may be empty.
        """
        self.flush()
        with self.contents.whole():
            yield

    def trace(self) -> Trace:
        """What ran in the latest steps."""
        with self._breakable("a flush"):
            self._timeline.add(self._executor.spans())
        return self._timeline.trace()

    def close(self, *, give_back: bool = True) -> None:
        """Flush, and give the model tensors of its own, with the trained weights in them; or none.

        Those of blocks on NVMe remain pages of a file without a name, which ends with them. What
        was encoded comes back as `whole` shows it. Where a step or a flush was broken off, which
        has been raised, weights are those of some step.
        """
        if not self._is_open:
            return
        try:
            if self._broken is None:
                self.flush()
                if give_back:
                    self.contents.give_back()
                    self._parts.operations.tables.give_back()
            else:
                self._updates.end()
                self.contents.show_blocks()
        finally:
            self._let_go()
        if self._broken is None:
            self.ranks.meet("close")

    def _let_go(self) -> None:
        self._is_open = False
        self._updates.close()
        if self._parts.blocks is not None:
            self._parts.blocks.close()
        if self._parts.run is not None:
            self._parts.run.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None and not issubclass(kind, Exception):
            self._broken = self._broken or kind.__name__  # Ctrl-C: at once
        if kind is not None:
            self.ranks.leave()
        self.close()

    def _make(
        self,
        number: int,
        microbatches: Sequence[Any],
        lr: float | None,
        seed: int | None,
    ) -> None:
        """Make a step, or raise what a lane raised and leave all as it was."""
        period, lanes = self.program.period, self.ranks.lanes
        with torch.no_grad(), self._traversal(microbatches, period, lanes) as traversal:
            step = self._begun(traversal, lr, seed)
            with self._breakable(f"step {number}"):
                self._backend.synchronize(self._executor.enqueue_step(number))
            if step.error is not None:
                self._undo(number)
                error, step.error = step.error, None
                error.add_note(f"step {number} was undone; another batch can be given")
                try:
                    raise error
                finally:
                    del error  # or this frame, which is one of its own, holds it

    def _undo(self, number: int) -> None:
        """A step that failed has made every update but its own, which is of nothing."""
        self.num_steps = number + 1
        self.flush()
        self.num_steps = self._first_step = number
        self._executor = self._fresh_executor()
        self._timeline.undone(number)
        operations = self._parts.operations
        del operations.steps[number], operations.kept[number]

    @contextmanager
    def _breakable(self, what: str) -> Iterator[None]:
        """What is raised inside has left some operations undone: nobody knows which."""
        try:
            yield
        except BaseException as error:
            self._broken = f"{what} was broken off by {error!r}"
            if isinstance(error.__cause__, ExchangeError):
                raise error.__cause__ from None
            raise

    def _check_usable(self) -> None:
        if self._broken is not None:
            raise RuntimeError(
                f"{self._broken}: the engine cannot go on; close it, and begin another, which goes "
                f"on from the journal of its folder where it has one, on another backend"
            )

    def _begun(self, traversal: Traversal, lr: float | None, seed: int | None) -> Step:
        optimizer, operations = self.optimizer, self._parts.operations
        step = operations.steps[self.num_steps] = Step(
            optimizer=optimizer if lr is None else replace(optimizer, lr=lr),
            traversal=traversal,
            keys=tuple(self._key(sample, seed) for sample in range(self._recipe.samples)),
            cursor=self.cursor + self._recipe.microbatches,
        )
        operations.draws.begin(step.keys)
        return step

    def _key(self, sample: int, seed: int | None) -> int:
        """MeZO's own noise takes the seed of a step as it is; a sample's seed is one further."""
        if self._recipe.noise == "torch" and seed is not None:
            return seed + sample
        seed = self.optimizer.seed if seed is None else seed
        return sample_key(seed, self.num_steps, sample)

    def _traversal(
        self,
        microbatches: Sequence[Any],
        trip: Schedule,
        lanes: range,
        loss_fn: LossFn | None = None,
    ) -> Traversal:
        """Of some lanes of a trip, each with its batch where it starts."""
        function = self._loss_fn if loss_fn is None else loss_fn
        layout, devices = self._parts.layout, self._backend.devices
        starts = lane_devices(layout, trip, lanes)
        batches = lane_batches(microbatches, lanes, [devices[start] for start in starts])
        moving = starts if layout.plan.devices > 1 else None
        return Traversal(self._model, self._parts.units, function, batches, moving)

    def _fresh_executor(self) -> Executor:
        work_of = self._parts.operations.work
        return Executor(self._backend, self.program, work_of, first_step=self.num_steps)

    def _run(self, schedule: Schedule, step: int) -> None:
        with self._breakable("a trip"):
            self._executor.run(schedule, lambda op, _: self._parts.operations.work(op, step))
