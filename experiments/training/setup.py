"""What a run is made of, from its settings: a model, a task as batches, a plan."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cli import claim
from experiments.training.batches import Batches, Task
from experiments.training.code_or_prose import Texts, code_or_prose, read_texts
from experiments.training.jsonl import read_task
from experiments.training.loaded_model import LoadedModel, described, load
from experiments.training.settings import AUTO, BackendName, Config
from experiments.training.tiny_model import NAME as TINY
from experiments.training.tiny_model import described as tiny_described
from experiments.training.tiny_model import obtain
from zo2rt.backends import Backend, CudaBackend, HostBackend, VirtualBackend
from zo2rt.memory.room import UNLIMITED, Room, check_room
from zo2rt.steps import supported
from zo2rt.steps.supported import unsupported
from zo2sim.machines.file import resolve
from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import replace_all
from zo2sim.memory.account import MemoryAccount
from zo2sim.memory.runtime import AROUND_A_RUN, account
from zo2sim.models.config import from_config
from zo2sim.plan.choices import Plan, Recipe, published_code
from zo2sim.plan.refusals import check
from zo2sim.predict.case import Case
from zo2sim.predict.predict import Prediction, predict
from zo2sim.search import search as chooser


def choose(config: Mapping[str, Any], machine: Machine, recipe: Recipe, *, name: str) -> Plan:
    """The chosen plan; ``config`` is the model's config.json.

    Raises ``ValueError`` where no plan fits, saying what the smallest ones need.
    """
    model = from_config(config, name=name)
    return chooser.choose(
        model,
        machine,
        chooser.Limits(),
        recipe,
        allowed=lambda plan, recipe: unsupported(plan, recipe) is None,
    )


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A run before its first step. ``load`` gives the untrained model, a new one each time.

    ``model_config`` holds the fields of its config.json.
    """

    load: Callable[[], LoadedModel]
    model_config: Mapping[str, Any]
    reading: Batches
    plan: Plan
    recipe: Recipe
    prediction: Prediction | None = None
    """What the step was predicted to take; None where it has no time, or no predictor knows it."""
    unused_weights: tuple[str, ...] = ()
    """Names of the model's folder that its class has no place for."""
    loaded_whole: str | None = None
    """Why the model's weights are all in memory before they move; None where they never are."""

    @property
    def task(self) -> Task:
        return self.reading.task


def prepare(config: Config, pretraining: Callable[[float], None]) -> Setup:
    """Load and check everything; ``pretraining`` is told of every step of the tiny model's.

    Raises ``ValueError`` for whatever in the settings cannot be, and `DoesNotFit` where there is
    not the memory for it, before a weight is read or trained.
    """
    plan, recipe = config.chosen
    check(plan, recipe)
    supported.check(plan, recipe)
    # What they refuse is refused before anything is written.
    _ = config.course, config.optimizer, config.limit, resolve(config.machine)
    texts = read_texts() if config.data is None or config.model == TINY else None
    task = _task(config, texts)
    fields = tiny_described() if config.model == TINY else described(config.model, config.model)
    if fields is not None:
        plan = _chosen_plan(config, fields)
        _check_room(config, fields, plan)
    if config.model == TINY and not (base := _base(config)).exists():
        assert texts is not None, "the tiny model has read them"
        claim(config.out, "run")
        for loss in obtain(base, texts):
            pretraining(loss)

    def load_again() -> LoadedModel:
        return model_of(config)

    loaded = load_again()
    loaded.check_length(recipe.sequence)
    loaded.check_causal()
    if fields is None:
        plan = _chosen_plan(config, loaded.config)
    return Setup(
        load=load_again,
        model_config=loaded.config,
        reading=Batches(task, loaded.tokenizer, recipe, config.seed),
        plan=plan,
        recipe=recipe,
        prediction=_prediction(config, loaded, plan),
        unused_weights=loaded.unused,
        loaded_whole=loaded.whole,
    )


def model_of(config: Config) -> LoadedModel:
    """The untrained model of a run."""
    source = _base(config) if config.model == TINY else config.model
    return load(config.model, source, config.chosen[1], config.seed, config.blocks)


@contextmanager
def opened(name: BackendName, *, own_core: bool = False, devices: int = 1) -> Iterator[Backend]:
    """The backend of that name. Raises ``ValueError`` where there are no such devices.

    ``own_core`` is for the host's copies, where it has a core to spare: one device leaves one.
    """
    backends: dict[BackendName, Callable[[], Backend]] = {
        "host": lambda: HostBackend(devices=devices, own_core=own_core and devices == 1),
        "virtual": lambda: VirtualBackend(devices=devices),
        "cuda": lambda: CudaBackend(devices=devices),
    }
    try:
        backend = backends[name]()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--backend {name} needs a device that is there; {error}") from None
    with backend:
        yield backend


def _base(config: Config) -> Path:
    """Where the tiny model is kept before it is fine-tuned."""
    return config.out / "base"


def _task(config: Config, texts: Texts | None) -> Task:
    if config.data is not None:
        return read_task(config.data, config.eval_data, most_held_out=config.eval_examples)
    if config.eval_data is not None:
        raise ValueError("--eval-data needs --data: the built-in task has its own")
    assert texts is not None, "the built-in task is made of them"
    return code_or_prose(texts, most_held_out=config.eval_examples)


def _prediction(config: Config, loaded: LoadedModel, plan: Plan) -> Prediction | None:
    """On the machine of the settings, if its constants are those of a host's cores: only then is
    it of the kind that the run is on, and measured."""
    machine, recipe = resolve(config.machine), config.chosen[1]
    if config.backend != "host" or machine.cpu is None:
        return None
    try:
        model = from_config(loaded.config, name=config.model)
        return predict(Case(model=model, machine=machine, plan=plan, recipe=recipe))
    except ValueError:  # a family or a combination that is executed but not predicted
        return None


def _chosen_plan(config: Config, fields: Mapping[str, Any]) -> Plan:
    """Where nobody has chosen one, the plan for a model with this config.json."""
    plan, recipe = config.chosen
    if config.plan_from != AUTO:
        return plan
    machine, room = resolve(config.machine), config.limit.device_bytes
    if room is not None:
        machine = replace_all(machine, {"device.memory_bytes": room}, source="--device-memory")
    return choose(fields, machine, recipe, name=config.model)


def _check_room(config: Config, fields: Mapping[str, Any], plan: Plan) -> None:
    """For the run, and for the one that it is compared with, which has no limit.

    Nothing is foreseen of a model that the predictor does not know: the engine refuses then.
    """
    limits: list[tuple[Plan, Room]] = [(plan, config.limit)]
    if config.reference is not None:
        limits.append((config.reference, UNLIMITED))
    with opened(config.backend) as backend:
        for one, limit in limits:
            needed = _needed(config, fields, one)
            if needed is not None:
                check_room(needed, backend, limit=limit)


def _needed(config: Config, fields: Mapping[str, Any], plan: Plan) -> MemoryAccount | None:
    """Weights, buffers and activations, libraries apart; None where no account is of our runs."""
    recipe = config.chosen[1]
    if published_code(plan, recipe) is not None:
        return None
    try:
        model = from_config(fields, name=config.model)
        return account(model, plan, recipe).without(AROUND_A_RUN)
    except ValueError:
        return None
