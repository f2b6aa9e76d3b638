"""Settings of `run`, as flags and as the config.json of a run's folder."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
import tyro

from experiments.case.sizes import parse_bytes
from experiments.case.target import refuse_unread
from experiments.cli import json_object
from experiments.entry.flags import PLAN as PLAN_FLAGS
from experiments.entry.flags import RECIPE as RECIPE_FLAGS
from experiments.entry.flags import refuse
from experiments.folder.traces import TraceFormat
from experiments.training.places import found, told
from experiments.training.tiny_model import NAME as TINY
from zo2rt.engine.engine import MezoSgd, Room
from zo2rt.optimizer import Estimator, Rule
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import names, resolve
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.file import fields_of, from_fields, read
from zo2sim.reading import read_text

BackendName = Literal["host", "virtual", "cuda"]
Schedule = Literal["constant", "linear"]
AUTO = "auto"
PLAN = Plan()
RECIPE = Recipe(
    batch=16,
    sequence=64,
    noise="rademacher",
    storage_dtype=Dtype.FP32,
    wire_dtype=Dtype.FP32,
    compute_dtype=Dtype.FP32,
)
"""What is small enough for two cores."""
TUNED: dict[str, float | None] = {"lr": 2e-3, "eps": 1e-2, "clip": 5.0}
"""What the tiny model learns with; tried by hand on the built-in task."""
USUAL: dict[str, float | None] = {"lr": 1e-6, "eps": 1e-3, "clip": None}
"""What MeZO (arXiv:2305.17333) fine-tunes OPT-13B with, or a tenth of the rate."""
PREDICTED_THREADS = 1
"""A machine that computes on its host is described, and calibrated, by what one core takes."""
_OF_THIS_CALL = (
    "out",
    "resume",
    "json",
    "no_report",
    "trace_format",
    "flags",
)  # no part of a run's settings
_MOVED = ("data", "eval_data", "model", "machine")  # files that may lie elsewhere by now
_RESUMED = {f"--{name.replace('_', '-')}": name for name in ("steps", *_MOVED)}
"""What a call that resumes may say by these flags: go on to so many steps, and where files lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How many steps, at which learning rate, judged and saved when.

    Step counts; 0 for ``eval_every`` or ``save_every`` leaves only the beginning and the end.
    """

    steps: int
    lr: float
    schedule: Schedule
    eval_every: int
    save_every: int
    snapshots: bool = True
    """Off for a run that is kept nowhere."""

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("eval_every", 0), ("save_every", 0)):
            value = getattr(self, name)
            if value < least:
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} must be >= {least}; got {value}")

    def lr_at(self, step: int) -> float:
        """Constant, or from ``lr`` in the first step down to 0 after the last one."""
        if self.schedule == "constant":
            return self.lr
        return self.lr * (1.0 - step / self.steps)

    def is_judged(self, step: int) -> bool:
        """Whether weights after ``step`` steps are evaluated."""
        return step in (0, self.steps) or (self.eval_every > 0 and step % self.eval_every == 0)

    def is_saved(self, step: int) -> bool:
        """Whether weights after ``step`` steps become a snapshot."""
        due = self.save_every > 0 and step % self.save_every == 0
        return self.snapshots and step > 0 and (due or step == self.steps)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Fine-tune a model with zeroth-order steps, and write the run's folder."""

    plan: Plan = PLAN
    recipe: Recipe = RECIPE
    model: str = TINY
    """'tiny', which the run makes for itself; a folder; or an id in the local cache."""
    blocks: str | None = None
    """Names of the lists that hold the blocks, in order of execution, with commas between them;
    None: those that the model runs."""
    data: Path | None = None
    """JSON lines: text, text and label, or prompt and completion. None: code or prose?"""
    eval_data: Path | None = None
    """Held-out examples, in the same form; None: a tenth of the data."""
    eval_examples: int = 256
    """Held-out examples that are used, at most."""
    plan_from: Annotated[str | None, tyro.conf.arg(name="plan")] = None
    """A TOML file with plan and recipe instead of flags, or 'auto' to choose the plan."""
    machine: str = "this-host"
    """Machine of the catalogue, or a TOML file, on which the step is predicted."""
    device_memory: str | None = None
    """Device memory within which the run stays, and --plan auto chooses, e.g. 18GB or 24GiB."""
    backend: BackendName = "host"
    """Where it runs: threads and memory copies, virtual time, or an accelerator."""
    threads: int | None = None
    """PyTorch's threads per operator; None: one for the tiny model, whose operators are too small
    for more, and if --machine is calibrated, else its own choice."""
    steps: int = 800
    """Steps of the whole run."""
    lr: float | None = None
    """Learning rate of the first step; None: 1e-6, for the tiny model 2e-3."""
    eps: float | None = None
    """Distance from the weights to W+ and W-, per unit of noise; None: 1e-3, tiny 1e-2."""
    weight_decay: float = 0.0
    """Decay of matrices; vectors and norms have none."""
    rule: Rule = "sgd"
    """What of the projected gradient counts: all of it, or its sign."""
    clip: float | None = None
    """Bound on the projected gradient's magnitude; None: none, for the tiny model 5."""
    sparsity: float = 0.0
    """Part of every matrix, its largest weights, that is not trained (Sparse-MeZO)."""
    stochastic_rounding: bool = False
    """Round updates of fp16 and bf16 weights at random, so that small ones are not lost."""
    schedule: Schedule = "linear"
    """Learning rate: constant, or linear down to 0."""
    seed: int = 0
    """Of the noise and of the order of the data."""
    eval_every: int = 100
    """Steps between evaluations; 0: only at the beginning and the end."""
    save_every: int = 200
    """Steps between snapshots; 0: only at the end. The journal keeps every step anyway."""
    against: Policy | None = None
    """Run it a second time with this policy, and compare bit by bit."""
    out: Path = Path("runs/run")
    """Folder of the run."""
    resume: bool = False
    """Go on with the run in --out; its settings are taken from there."""
    no_report: bool = False
    """Write the numbers and figures only."""
    trace_format: TraceFormat = "perfetto"
    json: str | None = None
    """Write the summary as JSON to this file, or to stdout with '-'."""
    flags: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """Those that were typed."""

    def __post_init__(self) -> None:
        if self.eval_examples < 1:
            raise ValueError(f"--eval-examples must be >= 1; got {self.eval_examples}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"--threads must be >= 1; got {self.threads}")

    def typed(self, flags: frozenset[str]) -> Self:
        """``ValueError`` where a flag that was typed has no effect."""
        if self.resume:
            kept = {*_RESUMED, *(f"--{name.replace('_', '-')}" for name in _OF_THIS_CALL)}
            refuse(flags, flags - kept, "with --resume, which takes settings from --out")
            return replace(self, flags=flags)
        if self.plan_from is not None and flags & PLAN_FLAGS.keys():
            raise ValueError(f"give --plan {self.plan_from} or the flags of a plan, not both")
        if self.plan_from not in (None, AUTO) and flags & RECIPE_FLAGS.keys():
            raise ValueError(f"give --plan {self.plan_from} or the flags of a recipe, not both")
        refuse_unread(flags, self.plan)
        if self.rule == "sign":
            refuse(flags, ("--clip",), "with --rule sign: the sign of g has no magnitude")
        if "--stochastic-rounding" in flags and self.chosen[1].plain_dtype is Dtype.FP32:
            refuse(flags, ("--stochastic-rounding",), "on fp32 weights")
        if not self._asks_machine:
            refuse(flags, ("--machine",), f"with --backend {self.backend}: nothing is predicted")
        return self

    @property
    def _asks_machine(self) -> bool:
        """The step is predicted on it, a plan is chosen for it, or threads are its."""
        threads = self.backend == "virtual" and self.threads is None and self.model != TINY
        return self.backend == "host" or self.plan_from == AUTO or threads

    @property
    def resolved(self) -> "Config":
        """With numbers instead of None where they depend on the model or the machine."""
        chosen = {name: getattr(self, name) for name in ("lr", "eps", "clip")}
        usual = TUNED if self.model == TINY else USUAL
        numbers = {k: usual[k] if v is None else v for k, v in chosen.items()}
        return replace(self, **numbers, threads=self.num_threads)

    @property
    def num_threads(self) -> int:
        """PyTorch's threads while it trains; the same on every backend that is this host."""
        if self.threads is not None:
            return self.threads
        on_host = self.backend != "cuda"
        if on_host and (self.model == TINY or resolve(self.machine).cpu is not None):
            return PREDICTED_THREADS
        return torch.get_num_threads()

    @property
    def course(self) -> Course:
        assert self.lr is not None, "resolved"
        return Course(
            steps=self.steps,
            lr=self.lr,
            schedule=self.schedule,
            eval_every=self.eval_every,
            save_every=self.save_every,
        )

    @property
    def optimizer(self) -> MezoSgd:
        assert self.lr is not None, "resolved"
        assert self.eps is not None, "resolved"
        return MezoSgd(
            lr=self.lr,
            eps=self.eps,
            weight_decay=self.weight_decay,
            seed=self.seed,
            estimator=Estimator(rule=self.rule, clip=self.clip),
            stochastic_rounding=self.stochastic_rounding,
            sparsity=self.sparsity,
        )

    @property
    def limit(self) -> Room:
        """What the run may take at most."""
        if self.device_memory is None:
            return Room()
        return Room(device_bytes=parse_bytes(self.device_memory, flag="--device-memory"))

    @property
    def reference(self) -> Plan | None:
        """The plan of the run that this one is compared with."""
        return None if self.against is None else Plan(policy=self.against)

    @property
    def chosen(self) -> tuple[Plan, Recipe]:
        """Plan and recipe of the file, or of the flags."""
        if self.plan_from is None:
            return self.plan, self.recipe
        if self.plan_from == AUTO:
            return self.plan, self.recipe
        return read(Path(self.plan_from))


def settings_of(config: Config) -> dict[str, Any]:
    """All that makes the run what it is, as plain values; files as `places` tells them."""
    values = asdict(config)
    values["plan"] = fields_of(config.plan)
    for name in _MOVED:
        value = values[name]
        if value is not None and (name.endswith("data") or _is_file(value)):
            values[name] = told(value, config.out)
    return {name: value for name, value in values.items() if name not in _OF_THIS_CALL}


def _is_file(name: str) -> bool:
    """Not a name of the catalogue, of the cache, or of what a run makes for itself."""
    return name not in (TINY, *names()) and Path(name).exists()


def resumed(config: Config, stored: Path) -> Config:
    """The settings of a run that was begun, with what of this call may be said anew.

    Raises ``ValueError`` where other settings were given, or none were stored.
    """
    given = [f.name for f in fields(Config) if _differs(config, f.name)]
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(f"--resume takes every setting from {stored.parent}; leave out {flags}")
    own = {name: getattr(config, name) for name in _OF_THIS_CALL}
    moved = {n: getattr(config, n) for f, n in _RESUMED.items() if f in config.flags}
    before = _read(stored)
    steps = moved.get("steps", before.steps)
    if steps != before.steps and before.schedule != "constant":
        raise ValueError(
            f"--steps must stay {before.steps} with --schedule {before.schedule}: the learning "
            f"rate of the steps that were done depends on it; got {steps}; a run that is to be "
            f"prolonged is begun with --schedule constant"
        )
    return replace(before, **own, **moved)


def check_steps(config: Config, done: int) -> None:
    """Raise ``ValueError`` where a resumed run has made more steps than it is to have."""
    if config.steps < done:
        raise ValueError(
            f"--steps is the number of steps in all, and must be >= {done}, which were done; got "
            f"{config.steps}"
        )


def check_data(config: Config, stored: Path, data: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` where the data is not what it was when the run began.

    ``data`` holds digests of the files, and of the tokens that the model's tokenizer makes of them.
    """
    before = json_object(read_text(stored), where=str(stored)).get("data")
    before = before if isinstance(before, dict) else {}
    for key, what, flag, file in (
        ("data_sha256", "data", "--data (and --eval-data)", config.data or "the built-in text"),
        ("tokens_sha256", "data in tokens", "--model", f"the tokenizer of {config.model}"),
    ):
        then, now = before.get(key, data[key]), data[key]
        if then != now:
            raise ValueError(
                f"the {what} of a resumed run must hold what it held when the run began, "
                f"{str(then)[:12]}; with {file} it is {now[:12]}; restore that, say where it lies "
                f"now with {flag}, or start a new run"
            )


def _differs(config: Config, name: str) -> bool:
    kept = (*_OF_THIS_CALL, *_RESUMED.values())
    return name not in kept and getattr(config, name) != getattr(Config(), name)


def _read(stored: Path) -> Config:
    if not stored.is_file():
        raise ValueError(f"--resume needs a run in --out; there is no {stored}")
    try:
        content = json_object(read_text(stored), where=str(stored))
        values: dict[str, Any] = content["settings"]
        for name in _MOVED:
            if values[name] is not None:
                place = found(values[name], stored.parent, was=content.get("folder"))
                values[name] = Path(place) if name.endswith("data") else place
        values["plan"] = from_fields(Plan, values["plan"])
        values["recipe"] = from_fields(Recipe, values["recipe"])
        values["against"] = None if values["against"] is None else Policy(values["against"])
        return Config(**values)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{stored}: must be the config of a run; {error!r}") from None
