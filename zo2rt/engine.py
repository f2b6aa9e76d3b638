"""The engine: fine-tune a model with a plan, one step at a time.

objective, optimizer = Objective(example=batches[0]), MezoSgd(lr=1e-6)
with Engine(model, plan, recipe, objective, backend=backend, optimizer=optimizer) as engine:
    for batch in batches:
        print(engine.step(batch).loss)
model.save_pretrained(folder)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from zo2rt.arena import Arena
from zo2rt.backends import Backend
from zo2rt.codec import TORCH_DTYPES
from zo2rt.execute import Executor, as_trace
from zo2rt.lanes import Traversal
from zo2rt.loss import LossFn, model_loss
from zo2rt.noise import sample_key
from zo2rt.operations import Operations, Step, lane_batches
from zo2rt.outcome import Outcome, StepSettings
from zo2rt.supported import check
from zo2rt.units import find_units
from zo2sim.plan import Plan, Recipe
from zo2sim.policies import Layout, Shape, build, flush
from zo2sim.schedule import Program, Schedule
from zo2sim.trace import Span, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What to minimise, and a small batch with which the model is explored."""

    example: Mapping[str, Tensor]
    loss_fn: LossFn = model_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class MezoSgd:
    """Hyper-parameters of MeZO-SGD (arXiv:2305.17333, algorithm 1). 0 is a seed."""

    lr: float
    eps: float = 1e-3
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.eps > 0.0:
            raise ValueError(f"eps must be > 0; got {self.eps}")
        if not (self.lr >= 0.0 and self.weight_decay >= 0.0):
            raise ValueError(
                f"lr and weight_decay must be >= 0; got {self.lr} and {self.weight_decay}"
            )


_EVALUATION = -1  # the step number under which an evaluation's lanes run


class Engine:
    """Owns a model's weights from construction to ``close``, which gives them back, trained.

    A batch is a mapping of tensors whose first dimension is microbatches x batch; the recipe
    splits it. Raises ``ValueError`` where plan and recipe cannot be combined or executed, or the
    model has another dtype.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        recipe: Recipe,
        objective: Objective,
        *,
        backend: Backend,
        optimizer: MezoSgd,
    ) -> None:
        check(plan, recipe)
        _check_dtype(model, recipe)
        self.optimizer = optimizer
        self._model, self._recipe, self._backend = model, recipe, backend
        self._loss_fn = objective.loss_fn
        self._units = find_units(model, objective.loss_fn, objective.example)
        shape = Shape(num_blocks=self._units.num_blocks, tied=self._units.tied)
        self._layout = Layout(shape=shape, plan=plan, recipe=recipe)
        self.program: Program = build(shape, plan, recipe)
        self._arena = Arena(backend, self._units, self._layout, recipe.storage_dtype)
        assert recipe.noise != "torch", "refused by zo2rt.supported"
        self._operations = Operations(
            backend=backend,
            units=self._units,
            arena=self._arena,
            recipe=recipe,
            kind=recipe.noise,
        )
        self._given = [(p, p.tensor.data) for p in self._units.parameters]
        self._point_home()
        self.num_steps = 0
        self._first_step = 0
        self._executor = self._fresh_executor()
        self._spans: list[Span] = []

    @property
    def device_bytes(self) -> int:
        """Bytes of the runtime's own device buffers: slots, scratch, resident units."""
        return self._arena.device_bytes

    def step(
        self, batch: Mapping[str, Tensor], *, lr: float | None = None, seed: int | None = None
    ) -> Outcome:
        """One step: both forwards of every lane, and the losses. Its update is applied in time.

        ``lr`` and ``seed`` hold for this step alone; 0 is a seed and a learning rate.
        """
        number = self.num_steps
        settings = self._settings(number, lr, seed)
        batches = lane_batches(split(batch, self._recipe.microbatches), self._recipe)
        with torch.no_grad(), self._traversal(batches) as traversal:
            now = self._operations.steps[number] = Step(settings=settings, traversal=traversal)
            self._backend.synchronize(self._executor.enqueue_step(number))
        assert now.outcome is not None, "the loss has been synchronised with"
        self._forget(number)
        self.num_steps += 1
        return now.outcome

    def evaluate(self, batch: Mapping[str, Tensor]) -> float:
        """Loss of the current weights, every pending update included."""
        self.flush()
        batches = split(batch, self._recipe.microbatches)
        with torch.no_grad(), self._traversal(batches) as traversal:
            now = Step(settings=self._settings(_EVALUATION, None, None), traversal=traversal)
            self._operations.steps[_EVALUATION] = now
            self._run(self.program.evaluate, _EVALUATION)
        assert now.outcome is not None, "an evaluation has its losses"
        return now.outcome.loss

    def flush(self) -> None:
        """Apply every pending update, so that the model's parameters show it."""
        if self.num_steps == self._first_step:
            return
        self._spans += self._executor.spans()
        done = self.num_steps - self._first_step
        with torch.no_grad():
            self._run(self._pending(done), self.num_steps)
        self._executor = self._fresh_executor()
        self._first_step = self.num_steps

    def trace(self) -> Trace:
        """What ran in every step so far."""
        self._spans += self._executor.spans()
        return as_trace(self.program, tuple(self._spans))

    def close(self) -> None:
        """Flush, and give the model its own tensors back, with the trained weights in them."""
        self.flush()
        with torch.no_grad():
            for parameter, tensor in self._given:
                tensor.copy_(parameter.tensor)
                parameter.tensor.data = tensor
        self._given = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()

    def _pending(self, done: int) -> Schedule:
        """What is pending after ``done`` steps since the weights were whole."""
        every = self.program.period.steps
        schedule = flush(self._layout, done % every)
        ops = (replace(op, records=min(op.records, done)) for op in schedule.ops)
        return replace(schedule, ops=tuple(ops))

    def _settings(self, step: int, lr: float | None, seed: int | None) -> StepSettings:
        optimizer = self.optimizer
        run_seed = optimizer.seed if seed is None else seed
        samples = range(self._recipe.samples) if step != _EVALUATION else range(0)
        return StepSettings(
            step=max(step, 0),
            keys=tuple(sample_key(run_seed, step, sample) for sample in samples),
            lr=optimizer.lr if lr is None else lr,
            eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
        )

    def _traversal(self, batches: Sequence[Any]) -> Traversal:
        return Traversal(self._model, self._units, self._loss_fn, batches)

    def _fresh_executor(self) -> Executor:
        work_of = self._operations.work
        return Executor(self._backend, self.program, work_of, first_step=self.num_steps)

    def _run(self, schedule: Schedule, step: int) -> None:
        self._executor.run(schedule, lambda op, _: self._operations.work(op, step))
        self._backend.timings()

    def _forget(self, step: int) -> None:
        """Keep only the outcomes that a block may still miss."""
        del self._operations.steps[step]
        oldest = step + 1 - self.program.period.steps
        kept = self._operations.kept
        self._operations.kept = {n: o for n, o in kept.items() if n >= oldest}

    def _point_home(self) -> None:
        """Between visits the model's parameters show the weights where they live."""
        for unit in self._units.order:
            for parameter, tensor in zip(unit.parameters, self._arena.home(unit), strict=True):
                parameter.tensor.data = tensor


def split(batch: Mapping[str, Tensor], microbatches: int) -> list[dict[str, Tensor]]:
    """Microbatches along the first dimension, which must be a multiple of their number."""
    for name, tensor in batch.items():
        if tensor.shape[0] % microbatches:
            raise ValueError(
                f"{name}: the first dimension must be a multiple of {microbatches} microbatches; "
                f"got {tensor.shape[0]}"
            )
    parts = {name: tensor.chunk(microbatches) for name, tensor in batch.items()}
    return [{name: chunks[i] for name, chunks in parts.items()} for i in range(microbatches)]


def _check_dtype(model: nn.Module, recipe: Recipe) -> None:
    want = TORCH_DTYPES[recipe.storage_dtype]
    for name, parameter in model.named_parameters():
        if parameter.dtype is not want:
            raise ValueError(
                f"{name} must be {want} for storage_dtype={recipe.storage_dtype}; "
                f"got {parameter.dtype}; convert the model, or choose the recipe's dtypes"
            )
