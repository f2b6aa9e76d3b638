"""The Trainer: steps are the engine's, and all around them is as Hugging Face has it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainingArguments

from tests.families import SEQUENCE, VOCAB, build
from tests.zo2rt.engine.test_engine import recipe
from zo2rt.backends import HostBackend
from zo2rt.engine.engine import DoesNotFit, Engine, MezoSgd, Objective, Room
from zo2rt.engine.trainer import ZerothOrderTrainer
from zo2rt.noise import sample_key
from zo2rt.noise.keys import seed_shifted
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Recipe

ROWS, STEPS = 2, 4
HOW = recipe(batch=ROWS, sequence=SEQUENCE)
PLAN = Plan(write_back_every=2)
BF16, DTYPES = Dtype.BF16, ("storage_dtype", "wire_dtype", "compute_dtype")


class Tokens(Dataset[dict[str, Tensor]]):
    """As many rows of random tokens as the steps read."""

    def __init__(self, rows: int = ROWS * STEPS) -> None:
        drawn = torch.Generator().manual_seed(5)
        self.tokens = torch.randint(3, VOCAB, (rows, SEQUENCE), generator=drawn)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


class Seen(TrainerCallback):
    """What the Trainer tells its callbacks."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.calls.append(f"step {state.global_step}")

    def on_evaluate(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.calls.append(f"evaluate {state.global_step}")

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.calls.append(f"save {state.global_step}")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        assert "grad_norm" not in logs  # there is no gradient
        if "learning_rate" in logs:
            assert "projected_gradient" in logs
            self.rates.append(logs["learning_rate"])
            self.losses.append(logs["loss"])


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": True,
        "per_device_train_batch_size": ROWS,
        "num_train_epochs": 1,
        "learning_rate": 1e-2,
        "weight_decay": 0.1,
        "lr_scheduler_type": "linear",
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": 7,
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(**settings | changes)


@contextmanager
def trainer(
    model: nn.Module, args: TrainingArguments, how: Recipe = HOW, **others: Any
) -> Iterator[ZerothOrderTrainer]:
    settings: dict[str, Any] = {"plan": PLAN, "recipe": how, "train_dataset": Tokens(), **others}
    with HostBackend() as backend:
        yield ZerothOrderTrainer(model, args, backend=backend, **settings)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("microbatches", [1, 2])
def test_its_steps_are_those_of_an_engine_by_hand(tmp_path: Path, microbatches: int):
    """Batches as the Trainer's own loader gives them, rates as the schedule has them."""
    seen, model, twin = Seen(), build("opt"), build("opt")
    how = recipe(batch=ROWS // microbatches, sequence=SEQUENCE, microbatches=microbatches)
    with trainer(model, arguments(tmp_path), how, callbacks=[seen]) as mine:
        torch.manual_seed(7)
        batches = [*mine.get_train_dataloader()]
        mine.train()
    rates = [1e-2 * ((STEPS - number) / STEPS) for number in range(STEPS)]
    optimizer = MezoSgd(lr=1e-2, weight_decay=0.1, seed=7)
    with (
        HostBackend() as backend,
        Engine(
            twin, PLAN, how, Objective(example=batches[0]), backend=backend, optimizer=optimizer
        ) as engine,
    ):
        losses = [engine.step(b, lr=lr).loss for b, lr in zip(batches, rates, strict=True)]
    assert seen.losses == pytest.approx(losses, rel=1e-6)  # the Trainer adds them up in fp32
    assert seen.rates == rates
    assert same(weights(model), weights(twin))


def test_a_resumed_training_is_an_undisturbed_one(tmp_path: Path):
    whole, stopped, resumed = build("gpt2"), build("gpt2"), build("gpt2", seed=1)
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2}
    with trainer(whole, arguments(tmp_path / "a")) as mine:
        mine.train()

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            control.should_training_stop = state.global_step == 3

    with trainer(stopped, arguments(tmp_path / "b", **saving), callbacks=[Stop()]) as mine:
        mine.train()
    with trainer(resumed, arguments(tmp_path / "b")) as mine:
        mine.train(resume_from_checkpoint=str(tmp_path / "b" / "checkpoint-2"))
        assert mine.state.global_step == STEPS
    assert not same(weights(stopped), weights(whole))
    assert same(weights(resumed), weights(whole))


def test_callbacks_are_called_where_they_should_be(tmp_path: Path):
    seen = Seen()
    args = arguments(
        tmp_path, save_strategy="steps", save_steps=3, eval_strategy="steps", eval_steps=2
    )
    with trainer(build("opt"), args, callbacks=[seen], eval_dataset=Tokens(4)) as mine:
        mine.train()
    assert seen.calls == [
        *("step 1", "step 2", "evaluate 2", "step 3", "save 3", "step 4", "evaluate 4", "save 4"),
    ]


def test_a_checkpoint_holds_every_pending_update(tmp_path: Path):
    model = build("opt")
    args = arguments(tmp_path, save_strategy="steps", save_steps=STEPS)
    with trainer(model, args) as mine:
        mine.train()
    saved = type(model).from_pretrained(tmp_path / f"checkpoint-{STEPS}")  # type: ignore[attr-defined]
    assert same(weights(saved), weights(model))


def test_evaluation_during_training_changes_no_bit(tmp_path: Path):
    plain, judged = build("opt"), build("opt")
    with trainer(plain, arguments(tmp_path)) as mine:
        mine.train()
    args = arguments(tmp_path, eval_strategy="steps", eval_steps=1, eval_on_start=True)
    with trainer(judged, args, eval_dataset=Tokens(4)) as mine:
        mine.train()
    assert same(weights(plain), weights(judged))


@pytest.mark.parametrize("microbatches", [1, 2, 4])
def test_predictions_are_those_of_the_whole_model(tmp_path: Path, microbatches: int):
    """Three rows in batches of two: the second batch has fewer rows than microbatches."""
    model, data = build("opt"), Tokens(3)
    how = recipe(batch=4 // microbatches, sequence=SEQUENCE, microbatches=microbatches)
    args = arguments(tmp_path, per_device_train_batch_size=4, per_device_eval_batch_size=2)
    with torch.no_grad():
        whole = [model(input_ids=row["input_ids"][None]).logits for row in data]
    with trainer(model, args, how, eval_dataset=data) as mine:
        found = mine.predict(data)
        metrics = mine.evaluate()
    assert found.predictions.shape == (3, SEQUENCE, VOCAB)
    torch.testing.assert_close(torch.tensor(found.predictions), torch.cat(whole))
    assert torch.equal(torch.tensor(found.label_ids), data.tokens)
    assert metrics["eval_loss"] == pytest.approx(found.metrics["test_loss"])


def test_the_best_model_is_loaded_at_the_end(tmp_path: Path):
    """The metric is worst at the end, so the best checkpoint is an earlier one."""
    model = build("opt")
    args = arguments(
        tmp_path,
        save_strategy="best",
        eval_strategy="steps",
        eval_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="age",
        greater_is_better=False,
    )
    ages = iter([0.0, 1.0])
    judge = {"eval_dataset": Tokens(4), "compute_metrics": lambda _: {"age": next(ages)}}
    with trainer(model, args, **judge) as mine:
        mine.train()
        assert mine.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    saved = type(model).from_pretrained(tmp_path / "checkpoint-2")  # type: ignore[attr-defined]
    assert same(weights(model), weights(saved))


def test_the_model_is_saved_by_hand_after_training(tmp_path: Path):
    model = build("opt")
    with trainer(model, arguments(tmp_path)) as mine:
        mine.train()
        mine.save_model(str(tmp_path / "saved"))
    saved = type(model).from_pretrained(tmp_path / "saved")  # type: ignore[attr-defined]
    assert same(weights(model), weights(saved))


def test_after_an_error_the_trainer_can_start_again(tmp_path: Path):
    class Fail(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            raise RuntimeError("a callback failed")

    model = build("opt")
    with trainer(model, arguments(tmp_path)) as mine:
        fail = Fail()
        mine.add_callback(fail)
        with pytest.raises(RuntimeError, match="a callback failed"):
            mine.train()
        mine.remove_callback(fail)
        mine.train()
        assert mine.state.global_step == STEPS


def test_a_last_batch_that_does_not_split_is_refused_before_the_first(tmp_path: Path):
    how, seen = recipe(batch=2, sequence=SEQUENCE, microbatches=2), Seen()
    args = arguments(tmp_path, per_device_train_batch_size=4)
    with (
        trainer(build("opt"), args, how, train_dataset=Tokens(7), callbacks=[seen]) as mine,
        pytest.raises(ValueError, match="into 2 microbatches, and 7 examples leave it 3"),
    ):
        mine.train()
    assert seen.calls == []


def test_what_has_no_room_is_refused_before_the_first_step(tmp_path: Path):
    seen, model = Seen(), build("opt")
    before = weights(model)
    with (
        trainer(model, arguments(tmp_path), callbacks=[seen], limit=Room(device_bytes=1)) as mine,
        pytest.raises(DoesNotFit, match="and 1 B are free for it"),
    ):
        mine.train()
    assert seen.calls == []
    assert same(weights(model), before)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("random", [False, True])
def test_swallowed_updates_are_logged_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, random: bool
):
    class Logs(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            found.append(logs.get("swallowed"))

    found: list[float | None] = []
    model, how = build("opt", dtype=torch.bfloat16), replace(HOW, **dict.fromkeys(DTYPES, BF16))
    args = arguments(tmp_path, learning_rate=1e-7)
    others: dict[str, Any] = {"callbacks": [Logs()], "stochastic_rounding": random}
    with trainer(model, args, how, **others) as mine:
        mine.train()
    *steps, summary = found
    assert summary is None
    assert len(steps) == STEPS
    told = [line for line in caplog.messages if "set stochastic_rounding, or Recipe.sto" in line]
    assert (len(told), steps[-1] is None) == ((0, True) if random else (1, False))
    assert all(fraction is None or 0.5 < fraction <= 1.0 for fraction in steps)


class Masked(Tokens):
    """Rows of which no token is judged: their loss is NaN."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = super().__getitem__(index)
        return row | {"labels": torch.full_like(row["labels"], -100)}


class Mixed(Masked):
    """The first step's rows, and no others, are judged."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return Tokens.__getitem__(self, index) if index < ROWS else super().__getitem__(index)


@pytest.mark.parametrize("data", [Masked, Mixed])
def test_a_skipped_step_is_no_loss_of_0(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: type[Tokens]
):
    class Logs(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            found.append(logs)

    found: list[dict[str, Any]] = []
    args = arguments(tmp_path, logging_steps=2, train_sampling_strategy="sequential")
    with trainer(build("opt"), args, callbacks=[Logs()], train_dataset=data()) as mine:
        result = mine.train()
    first, second, total = found
    judged = 1 if data is Mixed else 0
    assert [first["skipped_steps"], second["skipped_steps"]] == [2 - judged, 2]
    assert (second["loss"], second["projected_gradient"]) == (None, None)
    assert total["skipped_steps"] == STEPS - judged
    assert total["train_loss"] == first["loss"]
    assert (first["loss"] is None) == (judged == 0)
    assert (result.training_loss == first["loss"]) == (judged == 1)
    told = [line for line in caplog.messages if "2 of the last 2 steps, up to step 4, were" in line]
    assert len(told) == 1


def test_of_fp32_weights_no_log_tells_of_swallowed_updates(tmp_path: Path):
    class Logs(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            assert "swallowed" not in logs

    with trainer(build("opt"), arguments(tmp_path), callbacks=[Logs()]) as mine:
        mine.train()


def test_random_rounding_is_the_engine_s(tmp_path: Path):
    mine, nearest = (build("opt", dtype=torch.bfloat16) for _ in range(2))
    how = replace(HOW, **dict.fromkeys(DTYPES, BF16))
    for model, random in ((mine, True), (nearest, False)):
        with trainer(model, arguments(tmp_path), how, stochastic_rounding=random) as one:
            one.train()
    assert not same(weights(mine), weights(nearest))


def test_its_own_backend_is_closed_even_where_closing_the_engine_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    closed, close_engine, close = [], Engine.close, HostBackend.close

    def failing(engine: Engine) -> None:
        close_engine(engine)
        raise OSError("a device went away")

    def closing(backend: HostBackend) -> None:
        closed.append(backend)
        close(backend)

    monkeypatch.setattr(Engine, "close", failing)
    monkeypatch.setattr(HostBackend, "close", closing)
    mine = ZerothOrderTrainer(
        build("opt"), arguments(tmp_path), plan=PLAN, recipe=HOW, train_dataset=Tokens()
    )
    with pytest.raises(OSError, match="a device went away"):
        mine.train()
    assert len(closed) == 1


def test_blocks_on_nvme_are_refused(tmp_path: Path):
    with (
        pytest.raises(ValueError, match="tier must be ram: blocks on NVMe belong to a journal"),
        trainer(build("opt"), arguments(tmp_path), plan=Plan(tier="nvme")),
    ):
        pass


def test_an_optimizer_of_ones_own_is_refused(tmp_path: Path):
    model = build("opt")
    own = torch.optim.SGD(model.parameters(), lr=1.0)
    with (
        pytest.raises(ValueError, match="optimizers must not bring an optimizer"),
        trainer(model, arguments(tmp_path), optimizers=(own, None)),
    ):
        pass


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_a_seed_can_be_shifted_by_any_number_of_steps(seed: int):
    for steps in (-3, 0, 1, 10**6):
        shifted = seed_shifted(seed, steps)
        assert sample_key(shifted, 5, 1) == sample_key(seed, 5 + steps, 1)
