"""Hugging Face's `Trainer`, with zeroth-order steps that stream the model.

    trainer = ZerothOrderTrainer(model, TrainingArguments("out"), train_dataset=data)
    trainer.train()

The loop is the Trainer's own: data order, schedules, logging, callbacks, checkpoints and the best
model are as ever. While it runs, an `Engine` owns the weights; whoever looks at them (evaluate,
predict, save, a callback) gets them with every pending update.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from zo2rt.backends import Backend, CudaBackend, HostBackend, StreamFailed
from zo2rt.checkpoint import Checkpoint
from zo2rt.engine.agreement import Agreement
from zo2rt.engine.contents import is_plain
from zo2rt.engine.engine import Engine, MezoSgd, Objective
from zo2rt.engine.followed import check, check_last_batch, followed
from zo2rt.engine.predictions import Prediction, joined, parts, rows
from zo2rt.engine.seeds import seed_of_step
from zo2rt.exchange import ALONE, Exchange
from zo2rt.memory.room import UNLIMITED, Room
from zo2rt.model.decay import DecayRule
from zo2rt.optimizer import Estimator
from zo2rt.steps.outcome import Outcome
from zo2rt.weights.swallowed import told
from zo2sim.plan.choices import Plan, Recipe

_LOG = logging.getLogger(__name__)
_SHARD_BYTES = 50 * 10**9
"""What `save_pretrained` puts into a file where nobody says how much."""


class ZerothOrderTrainer(Trainer):
    """A `Trainer` whose step is a MeZO step (arXiv:2305.17333) under a plan and a recipe.

    Learning rate, weight decay, seed and rows of a step are those of ``args``, which
    `zo2rt.engine.arguments` explains field by field; the rate of the schedule holds for every
    parameter. Of the recipe, microbatches and formats that are left out are those of ``args``
    (``gradient_accumulation_steps``, ``bf16``, ``fp16``) and of the model. ``args`` stays as it
    is: the Trainer works with a copy. Without ``backend`` it opens and closes one of its own, for
    the device of ``args``; another stays open, and whoever made it closes it. ``eps``,
    ``estimator``, ``sparsity`` and ``stochastic_rounding`` are `MezoSgd`'s, ``decays`` and
    ``blocks`` `Objective`'s. With an ``exchange`` (`zo2rt.exchange.joined`, in which ``args`` are
    made, too) it is one rank of several: all read the same rows, each takes some lanes, and rank 0
    alone logs and saves. A recipe with a ``reference`` has its seeds from NumPy's global
    generator, as the published codes do.

    A model that is larger than the host's memory comes as ``checkpoint``, with ``model`` its model:
    weights are read from its folder, a tensor at a time, when a step or an evaluation needs them.

    Raises ``ValueError`` that names all that a zeroth-order step cannot follow. `train` and
    whatever else runs the model raise `DoesNotFit`, before a step, where an engine's buffers need
    more memory than can become free, or more than ``limit``.
    """

    def __init__(  # noqa: PLR0913 - each is one decision of the caller's
        self,
        model: nn.Module,
        args: TrainingArguments,
        *,
        backend: Backend | None = None,
        plan: Plan = Plan(),  # noqa: B008 - a frozen value
        recipe: Recipe = Recipe(),  # noqa: B008 - a frozen value
        eps: float = 1e-3,
        estimator: Estimator = Estimator(),  # noqa: B008 - a frozen value
        sparsity: float = 0.0,
        stochastic_rounding: bool = False,
        decays: DecayRule | None = None,
        blocks: str | None = None,
        limit: Room = UNLIMITED,
        exchange: Exchange = ALONE,
        checkpoint: Checkpoint | None = None,
        **others: Any,
    ) -> None:
        agreement = Agreement(args, recipe, model)

        def optimizer() -> MezoSgd:
            return MezoSgd(
                lr=args.learning_rate,
                eps=eps,
                weight_decay=args.weight_decay,
                seed=args.seed,
                estimator=estimator,
                stochastic_rounding=stochastic_rounding,
                sparsity=sparsity,
            )

        check(agreement, plan, optimizer, backend=backend, exchange=exchange, others=others)
        self._exchange = exchange
        self._backend, self._plan, self._recipe = backend, plan, agreement.agreed
        self._optimizer, self._limit = optimizer(), limit
        self._decays, self._blocks, self._checkpoint = decays, blocks, checkpoint
        self._own_backend: Backend | None = None
        self._engine: Engine | None = None
        self._has_told = False
        self._losses: list[float | None] = []
        self._logged = 0
        self.outcome: Outcome | None = None
        super().__init__(model, followed(args, agreement.rows, exchange.rank), **others)
        self.accelerator.device_placement = False

    def train(self, *arguments: Any, **named: Any) -> Any:
        """As ever. Before and after, the model is an ordinary one that holds its weights.

        After an error its weights are those of some step before: resume from a checkpoint.
        """
        check_last_batch(self.train_dataset, self.args, self._recipe)
        self._has_told = False
        self._losses, self._logged = [], 0
        try:
            result = super().train(*arguments, **named)
        except BaseException as error:
            self._abandon(error)
            raise
        self._give_back()
        if None in self._losses:
            result = result._replace(training_loss=_number(_mean(self._losses)))
        return result

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """One step of the engine; its loss is the mean over the lanes.

        ``outcome`` holds what it found out, for callbacks. The loss of a microbatch is averaged
        over that microbatch, so ``num_items_in_batch`` is not used.
        """
        batch: dict[str, Any] = self._prepare_inputs(inputs)
        engine = self._engine = self._engine or self._opened(batch)
        lr = self.optimizer.param_groups[0]["lr"]
        number = self.state.global_step
        seed = seed_of_step(self._recipe, self.args.seed, number, engine_step=engine.num_steps)
        self.outcome = engine.step(batch, lr=lr, seed=seed)
        self._losses.append(self.outcome.loss)
        return torch.tensor(_number(self.outcome.loss), device=self.args.device)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """What carries the learning rate between the schedule and the engine."""
        if self.optimizer is None:
            trained = [p for p in self._whole.parameters() if p.requires_grad]
            self.optimizer = Rate(trained, lr=self.args.learning_rate)
        return self.optimizer

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        """As ever, block by block, with every pending update."""
        with self._streaming():
            return super().evaluate(*arguments, **named)

    def predict(self, *arguments: Any, **named: Any) -> Any:
        """As ever, block by block, with every pending update."""
        with self._streaming():
            return super().predict(*arguments, **named)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> Prediction:
        """The Trainer's own step as a lane's function, on one part of the batch per microbatch.

        Every lane has to run the model: where rows are too few, the last lanes repeat a part.
        """
        split = parts(inputs, self._recipe.microbatches)
        found: dict[int, Prediction] = {}

        def lane(model: nn.Module, batch: Mapping[str, Tensor]) -> float:
            number = int(batch["part"])
            part = split[number % len(split)]
            step = super(ZerothOrderTrainer, self).prediction_step
            found[number] = step(model, part, prediction_loss_only, ignore_keys)
            return 0.0

        engine = self._engine = self._engine or self._opened(split[0])
        engine.evaluate({"part": torch.arange(self._recipe.microbatches)}, lane)
        return joined([found[number] for number in range(len(split))], [*map(rows, split)])

    def log(self, logs: dict[str, Any], *arguments: Any, **named: Any) -> None:
        """As ever; the projected gradient stands where the norm of a gradient would.

        Where rounding swallows many updates, ``swallowed`` says what fraction, and a warning what
        to do.
        """
        self._tell_skipped(logs)
        logs.pop("grad_norm", None)  # which not every version logs
        if "loss" in logs and self.outcome is not None:
            logs["projected_gradient"] = self.outcome.g
            logs["tokens_per_s"] = self.outcome.tokens_per_s
            self._tell_swallowed(logs)
        super().log(logs, *arguments, **named)

    def _tell_skipped(self, logs: dict[str, Any]) -> None:
        """The Trainer shows a NaN as the mean of what it logged before, which is 0 at first."""
        name = next((name for name in ("loss", "train_loss") if name in logs), None)
        if name is None:
            return
        since = self._losses[self._logged :] if name == "loss" else self._losses
        self._logged = len(self._losses)
        if None not in since:
            return
        logs[name], logs["skipped_steps"] = _mean(since), since.count(None)
        if name == "loss":
            _LOG.warning(
                f"{since.count(None)} of the last {len(since)} steps, up to step "
                f"{self.state.global_step}, were skipped: a loss was NaN or infinite, and no "
                "weight changed; try a smaller learning_rate or eps"
            )

    def _tell_swallowed(self, logs: dict[str, float]) -> None:
        """Random rounding loses nothing in the mean."""
        fraction = None if self._engine is None else self._engine.swallowed
        note = told(fraction, remedy="set stochastic_rounding, or Recipe.storage_dtype to fp32")
        if note is None or fraction is None or self._optimizer.stochastic_rounding:
            return
        logs["swallowed"] = fraction
        if not self._has_told:
            _LOG.warning(note)
        self._has_told = True

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As ever, with every pending update; of several ranks the first writes."""
        engine = self._engine
        if engine is None:
            self._settle()
            super().save_model(output_dir, _internal_call)
            return
        with engine.ranks.together("save"):
            engine.flush()
            super().save_model(output_dir, _internal_call)

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        """As ever; the model's weights where they live, and what is encoded, one by one."""
        engine = self._engine
        if self._exchange.rank > 0:
            return  # its files would be rank 0's
        if engine is None or state_dict is not None:
            super()._save(output_dir, state_dict)
        elif is_plain(self._whole):
            super()._save(output_dir, {})
            folder = self.args.output_dir if output_dir is None else output_dir
            engine.contents.write(Path(folder or ""), _SHARD_BYTES)
        else:
            with engine.contents.savable():
                super()._save(output_dir)

    def _save_rng_state(self, output_dir: str) -> None:
        """Rank 0's is everybody's: all have drawn the same."""
        if self._exchange.rank == 0:
            super()._save_rng_state(output_dir)

    def _load_from_checkpoint(self, *arguments: Any, **named: Any) -> None:
        """As ever, into a model that has memory for its weights."""
        self._settle()
        super()._load_from_checkpoint(*arguments, **named)

    def _settle(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint.settle()

    def _load_best_model(self) -> None:
        """Into an ordinary model, because the training is over."""
        self._give_back()
        super()._load_best_model()

    def _move_model_to_device(self, model: nn.Module, device: torch.device) -> None:
        """Never: the plan says what is where."""

    @contextmanager
    def _streaming(self) -> Iterator[None]:
        """Where no training is going on, the engine that evaluation opens is closed again."""
        training = self._engine is not None
        try:
            yield
        finally:
            if not training:
                self._give_back()

    def _opened(self, batch: Mapping[str, Any]) -> Engine:
        self._whole.eval()
        tensors = {name: value[:1] for name, value in batch.items() if isinstance(value, Tensor)}
        backend = self._backend
        if backend is None:
            kind = HostBackend if self.args.device.type == "cpu" else CudaBackend
            backend = self._own_backend = kind(devices=self._plan.devices)
        return Engine(
            self._whole,
            self._plan,
            self._recipe,
            Objective(
                example=tensors, loss_fn=self._loss, decays=self._decays, blocks=self._blocks
            ),
            backend=backend,
            optimizer=self._optimizer,
            limit=self._limit,
            exchange=self._exchange,
            checkpoint=self._checkpoint,
        )

    def _loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The Trainer's loss; it may take keys out of the batch that it is given."""
        loss = self.compute_loss(model, dict(batch))
        assert isinstance(loss, Tensor), "outputs were not asked for"
        return loss

    @property
    def _whole(self) -> nn.Module:
        assert isinstance(self.model, nn.Module), "given at construction"
        return self.model

    def _abandon(self, error: BaseException) -> None:
        """Let the engine go, and nothing of it behind on the backend."""
        engine, self._engine = self._engine, None
        try:
            if engine is not None:
                engine.__exit__(type(error), error, error.__traceback__)
                if self._backend is not None:
                    with suppress(StreamFailed):
                        self._backend.timings()
        finally:
            self._close_own()

    def _give_back(self) -> None:
        """The model holds its own weights again, with every pending update."""
        engine, self._engine = self._engine, None
        try:
            if engine is not None:
                engine.close()
        finally:
            self._close_own()

    def _close_own(self) -> None:
        backend, self._own_backend = self._own_backend, None
        if backend is not None:
            backend.close()


class Rate(torch.optim.Optimizer):
    """Holds a learning rate where schedules, logs and checkpoints look for it; updates nothing."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The engine has made the step."""


def _mean(losses: Sequence[float | None]) -> float | None:
    """Of those that are finite; None where none is: JSON has no NaN."""
    known = [loss for loss in losses if loss is not None]
    return sum(known) / len(known) if known else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
