"""Short real runs of the engine: what is to run, an open engine, and a run as it went."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from zo2rt.backends import Backend, HostBackend, LinkLimit
from zo2rt.backends.process import intra_op_threads
from zo2rt.engine.engine import Engine, MezoSgd, Objective
from zo2rt.exchange import ALONE, Exchange
from zo2rt.measure.adapted import adapt
from zo2rt.measure.calm import Turn
from zo2rt.measure.turns import Rounds, with_references
from zo2rt.model.codec import TORCH_DTYPES
from zo2sim.models.config import from_config
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Program
from zo2sim.simulate.trace import Trace

_OPTIMIZER = MezoSgd(lr=1e-6)
_EXAMPLE_TOKENS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """A run on the `host` backend: a model's config, plan, recipe, and the speed of its link.

    ``link_bytes_per_s`` limits both directions, alone and together; None is the memory's speed.
    """

    name: str
    config: Mapping[str, Any]
    plan: Plan
    recipe: Recipe
    link_bytes_per_s: float | None = None

    @property
    def model(self) -> Model:
        """The model as the predictor knows it."""
        return from_config(self.config, name=self.name)

    @property
    def program(self) -> Program:
        """The schedule as the predictor knows it."""
        return build(Shape.of(self.model), self.plan, self.recipe)

    @property
    def limit(self) -> LinkLimit | None:
        rate = self.link_bytes_per_s
        return None if rate is None else LinkLimit.everywhere(rate)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredRun:
    """A run as it went, whether it has just been measured or was read from a folder.

    ``trace`` is of the latest steps. ``turns`` are those that it took with references, if it did.
    ``divergence`` is how any of all its steps differs from what was predicted to run; None: none
    is known to.
    """

    spec: RunSpec
    trace: Trace
    turns: Sequence[Turn] = ()
    divergence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Running:
    """An open engine that is stepped on demand, with the same batch every time."""

    spec: RunSpec
    engine: Engine
    batch: Mapping[str, Tensor]
    backend: Backend

    def steps_s(self, count: int, *, warm_up: int = 1) -> dict[int, float]:
        """Durations of ``count`` steps after ``warm_up`` ones, by number: from loss to loss.

        Returns when the last step has ended, so that what runs next runs alone.
        """
        for _ in range(warm_up):
            self.engine.step(self.batch)
        first = self.engine.num_steps
        ends_s = [perf_counter()]
        for _ in range(count):
            self.engine.step(self.batch)
            ends_s.append(perf_counter())
        self.backend.synchronize()
        return {first + i: end - start for i, (start, end) in enumerate(pairwise(ends_s))}

    def measured(self, turns: Sequence[Turn] = ()) -> MeasuredRun:
        """The run so far. Applies what is pending: what has not been flushed is not checked."""
        trace = self.engine.trace()
        return MeasuredRun(spec=self.spec, trace=trace, turns=turns, divergence=self._divergence())

    def _divergence(self) -> str | None:
        if self.engine.program != self.spec.program:
            return "the schedule that was executed is not the one that was predicted"
        self.engine.flush()
        return self.engine.divergence


def measured(
    running: Sequence[Running],
    references: Sequence[Running],
    rounds: Rounds,
    done: Callable[[], None],
) -> list[MeasuredRun]:
    """Each of the runs, after its turns with the references; ``done`` is called after every one."""
    turns = with_references(running, references, rounds, done)
    return [one.measured(own) for one, own in zip(running, turns, strict=True)]


@contextmanager
def opened(
    spec: RunSpec,
    make: Callable[[], Backend] | None = None,
    build: Callable[[RunSpec], Any] | None = None,
    exchange: Exchange = ALONE,
) -> Iterator[Running]:
    """The engine of a run, ready to step, with one intra-op thread.

    What is alive by then stays out of garbage collections until the run closes: one over everything
    that was imported and built stops all threads for 0.2 to 0.5 s in the middle of a step.

    ``make`` gives the backend; None: the `host` one, whose link is limited as ``spec`` says.
    ``build`` gives the model; None: `model_of`. ``exchange`` is with the other ranks, where there
    are some.
    """
    with ExitStack() as stack:
        stack.enter_context(intra_op_threads(1))
        model = (build or model_of)(spec)
        batch = batch_of(spec)
        example = {name: tensor[:1, :_EXAMPLE_TOKENS] for name, tensor in batch.items()}
        backend = stack.enter_context(_host(spec) if make is None else make())
        engine = Engine(
            model,
            spec.plan,
            spec.recipe,
            Objective(example=example),
            backend=backend,
            optimizer=_OPTIMIZER,
            exchange=exchange,
        )
        stack.enter_context(engine)
        gc.collect()
        stack.callback(gc.unfreeze)
        gc.freeze()
        yield Running(spec=spec, engine=engine, batch=batch, backend=backend)


def _host(spec: RunSpec) -> HostBackend:
    """Several devices compute on all cores; copies have one of their own beside one device."""
    devices = spec.plan.devices
    return HostBackend(spec.limit, devices=devices, own_core=devices == 1)


def model_of(spec: RunSpec) -> Any:
    """What runs, in eval mode, with adapters where they train; weights are random and the same."""
    torch.manual_seed(0)
    # The dtype's name that every version knows: the one without "torch_" came with 4.56.
    given = {"dtype": None, "torch_dtype": TORCH_DTYPES[spec.recipe.plain_dtype]}
    fields = {**spec.config, **given}
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    model = AutoModelForCausalLM.from_config(config)
    if spec.recipe.lora_rank is not None:
        adapt(model, spec.recipe.lora_rank, TORCH_DTYPES[spec.recipe.plain_dtype])
    return model.eval()


def batch_of(spec: RunSpec) -> dict[str, Tensor]:
    """What a step takes: random tokens, which are their own labels."""
    recipe = spec.recipe
    shape = recipe.microbatches * recipe.batch, recipe.sequence
    tokens = torch.randint(0, int(spec.config["vocab_size"]), shape)
    return {"input_ids": tokens, "labels": tokens}
