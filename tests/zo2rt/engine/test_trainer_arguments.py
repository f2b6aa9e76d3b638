"""What a Trainer takes from its arguments, and all that it cannot follow in one message."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from tests.families import SEQUENCE, build
from tests.zo2rt.engine.test_trainer import Tokens, same, weights
from zo2rt.backends import HostBackend
from zo2rt.engine.arguments import FOLLOWED, REFUSED, WARNED, idle, refused
from zo2rt.engine.engine import Engine, MezoSgd, Objective
from zo2rt.engine.trainer import ZerothOrderTrainer
from zo2rt.model.decay import by_name
from zo2rt.optimizer import Estimator
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Recipe

FP32 = Recipe(
    storage_dtype=Dtype.FP32, wire_dtype=Dtype.FP32, compute_dtype=Dtype.FP32, sequence=SEQUENCE
)
"""What a model in fp32 is trained with where nobody says anything."""


def arguments(folder: Path, **settings: Any) -> TrainingArguments:
    quiet = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "save_strategy": "no"}
    return TrainingArguments(str(folder), **quiet | settings)


@contextmanager
def made(folder: Path, model: nn.Module | None = None, **settings: Any) -> Iterator[Any]:
    """A Trainer of a tiny model in fp32; settings of its arguments are under ``args``."""
    args = arguments(folder, **settings.pop("args", {}))
    model = build("opt") if model is None else model
    yield ZerothOrderTrainer(model, args, train_dataset=Tokens(16), **settings)


# The table

FIELDS = {field.name for field in fields(TrainingArguments)}
"""Of the version that is installed: older ones lack some of the table's, and newer ones others."""


def test_every_field_of_the_arguments_has_one_meaning():
    """A field that a new transformers brings is in none of the three: say what it means."""
    names = [*FOLLOWED, *REFUSED, *WARNED]
    assert sorted(FIELDS - {*names}) == []
    assert len(names) == len({*names})


def test_defaults_ask_for_nothing(tmp_path: Path):
    args = TrainingArguments(str(tmp_path))
    assert [*refused(args), *idle(args)] == []


OTHER: dict[str, Any] = {
    **{"optim": "sgd", "optim_args": "a=1", "optim_target_modules": "all-linear"},
    **{"debug": "underflow_overflow", "torch_compile_backend": "inductor", "fsdp": "full_shard"},
    **{"torch_compile_mode": "default", "neftune_noise_alpha": 5.0, "torch_empty_cache_steps": 3},
    **{"ddp_bucket_cap_mb": 1, "ddp_backend": "gloo", "ddp_timeout": 1, "max_grad_norm": 2.0},
    **{"adam_beta1": 0.8, "adam_beta2": 0.8, "adam_epsilon": 1e-3, "deepspeed": {"a": 1}},
}


def changed(name: str) -> Any:
    """A value that is not the default: of a switch the other one."""
    field = next(f for f in fields(TrainingArguments) if f.name == name)
    return OTHER.get(
        name, {"some": 1} if "kwargs" in name or "config" in name else not field.default
    )


@pytest.mark.parametrize("name", [name for name in REFUSED if name in FIELDS])
def test_what_changes_the_training_is_refused_where_it_is_set(tmp_path: Path, name: str):
    args = arguments(tmp_path)
    setattr(args, name, changed(name))
    (reason,) = refused(args)
    assert reason.startswith(f"{name} must be left as it is: {REFUSED[name]}; got ")


@pytest.mark.parametrize("name", [name for name in WARNED if name in FIELDS])
def test_what_has_no_effect_is_told_where_it_is_set(tmp_path: Path, name: str):
    args = arguments(tmp_path)
    setattr(args, name, changed(name))
    assert [*idle(args)] == [f"{name}: {WARNED[name]}"]


@dataclass
class Warmer(TrainingArguments):
    """Arguments of another Trainer, with a field of its own."""

    warmth: float = 0.0


def test_a_field_that_nobody_knows_is_told(tmp_path: Path):
    args = Warmer(str(tmp_path), warmth=1.0)
    assert [*idle(args)] == ["warmth: this Trainer does not know it"]


def test_no_norm_at_all_asks_for_nothing(tmp_path: Path):
    assert [*refused(arguments(tmp_path, max_grad_norm=0.0))] == []


# One message


def test_all_that_cannot_be_followed_is_in_one_message(tmp_path: Path):
    settings = {"max_grad_norm": 2.0, "optim": "sgd", "gradient_accumulation_steps": 3}
    own = torch.optim.SGD(build("opt").parameters(), lr=1.0)
    recipe = Recipe(microbatches=2, storage_dtype=Dtype.BF16)
    with (
        pytest.raises(ValueError, match="a zeroth-order step cannot follow 7 things:") as caught,
        made(
            tmp_path,
            args=settings,
            recipe=recipe,
            plan=Plan(tier="nvme"),
            optimizers=(own, None),
        ),
    ):
        pass
    _, *reasons = str(caught.value).split("\n")
    assert [reason.split()[0] for reason in reasons] == [
        *("optim", "max_grad_norm", "gradient_accumulation_steps", "the", "tier", "optimizers"),
        "policy=zo2:",
    ]


# What is taken


def by_hand(model: nn.Module, recipe: Recipe, batches: Any, optimizer: MezoSgd, **others: Any):
    objective = Objective(example={k: v[:1] for k, v in batches[0].items()}, **others)
    with (
        HostBackend() as backend,
        Engine(model, Plan(), recipe, objective, backend=backend, optimizer=optimizer) as engine,
    ):
        for number, batch in enumerate(batches):
            engine.step(batch, lr=optimizer.lr * ((len(batches) - number) / len(batches)))


@pytest.mark.parametrize(
    ("args", "how", "given"),
    [
        ({}, {}, {}),
        ({"gradient_accumulation_steps": 2}, {"microbatches": 2}, {}),
        ({}, {"microbatches": 4}, {"recipe": Recipe(microbatches=4)}),
        ({"bf16": True}, {"compute_dtype": Dtype.BF16}, {}),
        (
            {},
            {"samples": 2, "noise": "rademacher"},
            {"recipe": Recipe(samples=2, noise="rademacher")},
        ),
    ],
    ids=["defaults", "accumulated", "split", "bf16", "samples"],
)
def test_rows_and_formats_are_those_of_the_arguments(
    tmp_path: Path, args: dict[str, Any], how: dict[str, Any], given: dict[str, Any]
):
    model, twin = build("opt"), build("opt")
    rows = {"per_device_train_batch_size": 4, "learning_rate": 1e-2, "num_train_epochs": 1}
    with made(tmp_path, model, args=args | rows, **given) as mine:
        torch.manual_seed(42)
        batches = [*mine.get_train_dataloader()]
        mine.train()
    accumulated = args.get("gradient_accumulation_steps", 1)
    assert [len(batch["labels"]) for batch in batches] == [4 * accumulated] * (4 // accumulated)
    by_hand(twin, replace(FP32, **how), batches, MezoSgd(lr=1e-2, seed=42))
    assert same(weights(model), weights(twin))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_formats_are_the_model_s(tmp_path: Path, dtype: torch.dtype):
    with made(tmp_path, build("opt", dtype=dtype), args={"max_steps": 1}) as mine:
        mine.train()
    assert next(mine.model.parameters()).dtype is dtype


_plain: dict[str, Tensor] = {}
"""The weights without any of these, of whose batches each case has the same."""


@pytest.mark.parametrize(
    ("given", "optimizer", "objective"),
    [
        ({"estimator": Estimator(clip=1e-3)}, {"estimator": Estimator(clip=1e-3)}, {}),
        ({"estimator": Estimator(rule="sign")}, {"estimator": Estimator(rule="sign")}, {}),
        ({"sparsity": 0.5}, {"sparsity": 0.5}, {}),
        ({"decays": by_name("weight")}, {}, {"decays": by_name("weight")}),
    ],
    ids=["clip", "sign", "sparsity", "decays"],
)
def test_what_is_the_step_s_own_is_reached(
    tmp_path: Path, given: dict[str, Any], optimizer: dict[str, Any], objective: dict[str, Any]
):
    model, twin = build("opt"), build("opt")
    args = {"learning_rate": 1e-3, "num_train_epochs": 1, "weight_decay": 0.5}
    with made(tmp_path, model, args=args, **given) as mine:
        torch.manual_seed(42)
        batches = [*mine.get_train_dataloader()]
        mine.train()
    step = MezoSgd(lr=1e-3, seed=42, weight_decay=0.5)
    by_hand(twin, FP32, batches, replace(step, **optimizer), **objective)
    assert same(weights(model), weights(twin))
    if not _plain:
        plain = build("opt")
        by_hand(plain, FP32, batches, step)
        _plain.update(weights(plain))
    assert not same(weights(model), _plain)


def test_pending_updates_of_a_longer_period_are_reached(tmp_path: Path):
    every, plain = build("opt"), build("opt")
    for model, plan in ((every, Plan(write_back_every=4)), (plain, Plan())):
        with made(tmp_path, model, plan=plan, args={"learning_rate": 1e-3}) as mine:
            mine.train()
    assert same(weights(every), weights(plain))


def test_the_caller_s_arguments_stay_as_they_are(tmp_path: Path):
    args = arguments(tmp_path, gradient_accumulation_steps=2, bf16=True, max_steps=1)
    before = args.to_dict()
    ZerothOrderTrainer(build("opt"), args, train_dataset=Tokens(16)).train()
    assert args.to_dict() == before


# Warnings


def test_what_has_no_effect_is_told_once_and_the_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    settings = {"torch_empty_cache_steps": 2, "ddp_timeout": 3, "learning_rate": 1e-6}
    with made(tmp_path, args=settings) as mine:
        mine.train()
    (told,) = [line for line in caplog.messages if "without effect" in line]
    assert "torch_empty_cache_steps: buffers are allocated once; ddp_timeout: there is one" in told


@pytest.mark.parametrize("lr", [None, 1e-6])
def test_a_learning_rate_that_nobody_chose_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lr: float | None
):
    with (
        caplog.at_level(logging.WARNING),
        made(tmp_path, args={} if lr is None else {"learning_rate": lr}),
    ):
        told = [line for line in caplog.messages if "which is first-order training's" in line]
    assert len(told) == (lr is None)
