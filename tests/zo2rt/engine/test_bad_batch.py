"""An error in the user's loss or data is raised as it is, and the engine goes on after it."""

import gc
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from tests.families import SEQUENCE, VOCAB, batch, build
from tests.thorough import crossed
from tests.zo2rt.engine.engine_cases import CASES, TRIED, Case
from tests.zo2rt.engine.engine_runs import NUM_STEPS, OPTIMIZER, recipe
from tests.zo2rt.engine.test_trainer import STEPS, Tokens, arguments, same, trainer, weights
from zo2rt.backends import Backend, HostBackend, StreamFailed, VirtualBackend
from zo2rt.engine.engine import Engine, Objective
from zo2rt.journal import Journal, read
from zo2rt.journal.durable import Disk
from zo2rt.model.loss import model_loss
from zo2sim.plan.choices import Plan, Policy, Recipe

DATA = [batch("opt", seed=seed) for seed in range(NUM_STEPS)]
FOUR_LANES = Case(Plan(write_back_every=2), recipe(microbatches=2))
EXACT = [name for name in TRIED if name != "zo2, in place"]
"""In place a step that is undone leaves rounding behind, as one that is skipped does."""


class Refused(Exception):
    """What only a loss of the user's raises."""


@dataclass
class Loss:
    """The model's own, which fails in its ``number``-th call from ``armed`` on."""

    number: int
    calls: int = field(default=-1)

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        loss = model_loss(model, batch)
        if self.calls >= 0:
            self.calls += 1
            if self.calls == self.number:
                raise Refused("this loss is not for this batch")
        return loss


def bad() -> dict[str, Tensor]:
    """A token that the embedding does not have: the first unit fails."""
    return DATA[0] | {"input_ids": torch.full_like(DATA[0]["input_ids"], VOCAB + 1)}


def trained(
    case: Case,
    *,
    backend: Callable[..., Backend] = HostBackend,
    folder: Path | None = None,
    loss: Loss | None = None,
    failing: int | None = None,
) -> tuple[dict[str, Tensor], list[tuple[float, ...]]]:
    """Weights and losses of the steps; before step ``failing`` another one fails."""
    model, losses = build("opt"), list[tuple[float, ...]]()
    objective = Objective(example=DATA[0], loss_fn=loss or model_loss)
    with (
        case.folder() as own,
        backend(devices=case.plan.devices) as place,
        Engine(
            model,
            case.plan,
            case.recipe,
            objective,
            backend=place,
            optimizer=OPTIMIZER,
            folder=folder or own,
        ) as engine,
    ):
        for number, one in enumerate(DATA):
            if number == failing:
                fail(engine, loss)
            engine.step(one)
            losses.append(engine.record.losses)
        assert (engine.num_steps, engine.divergence) == (NUM_STEPS, None)
    return weights(model), losses


def fail(engine: Engine, loss: Loss | None) -> None:
    steps = engine.num_steps
    if loss is None:
        with pytest.raises(IndexError, match="index out of range") as caught:
            engine.step(bad())
    else:
        loss.calls = 0
        with pytest.raises(Refused) as caught:
            engine.step(DATA[1])
        loss.calls = -1
    assert caught.value.__notes__ == [f"step {steps} was undone; another batch can be given"]
    assert engine.num_steps == steps


@cache
def undisturbed(how: Recipe) -> tuple[dict[str, Tensor], list[tuple[float, ...]]]:
    """What every failing step is compared with, by whatever plan; nobody changes it."""
    return trained(Case(Plan(policy=Policy.RESIDENT), how))


@pytest.mark.parametrize(("name", "failing"), crossed(EXACT, [0, 1, NUM_STEPS - 1]))
def test_steps_after_a_bad_batch_are_as_if_it_had_not_been(name: str, failing: int):
    want, losses = undisturbed(CASES[name].recipe)
    found, again = trained(CASES[name], failing=failing)
    assert again == losses
    assert same(found, want)


@pytest.mark.parametrize(("number", "backend"), crossed([1, 2, 4], [HostBackend, VirtualBackend]))
def test_a_loss_may_fail_in_any_lane(number: int, backend: Callable[[], Backend]):
    found, _ = trained(FOUR_LANES, backend=backend, loss=Loss(number), failing=1)
    assert same(found, undisturbed(FOUR_LANES.recipe)[0])


def test_in_place_the_engine_goes_on_too():
    want, _ = trained(CASES["zo2, in place"])
    found, _ = trained(CASES["zo2, in place"], failing=2)
    torch.testing.assert_close(found, want, atol=1e-3, rtol=0.0)


def test_a_step_that_was_undone_is_in_no_journal(tmp_path: Path):
    trained(CASES["zo2"], folder=tmp_path / "a")
    found, _ = trained(CASES["zo2"], folder=tmp_path / "b", failing=2)
    assert same(found, undisturbed(recipe())[0])
    journals = [(tmp_path / name / "journal.jsonl").read_bytes() for name in "ab"]
    assert journals[0] == journals[1]
    assert read(Disk(), tmp_path / "b" / "journal.jsonl").position.step == NUM_STEPS


def opened(model: nn.Module, place: Backend, **others: Any) -> Engine:
    objective = Objective(example=DATA[0])
    settings: dict[str, Any] = {"optimizer": OPTIMIZER, **others}
    return Engine(model, Plan(), recipe(), objective, backend=place, **settings)


def test_an_evaluation_that_fails_changes_nothing():
    def refuse(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        model_loss(model, batch)
        raise Refused

    model, twin = build("opt"), build("opt")
    for one, fails in ((model, True), (twin, False)):
        with HostBackend() as place, opened(one, place) as engine:
            engine.step(DATA[0])
            if fails:
                with pytest.raises(Refused):
                    engine.evaluate(DATA[1], refuse)
            assert engine.evaluate(DATA[1]) > 0.0
            engine.step(DATA[1])
    assert same(weights(model), weights(twin))


@pytest.mark.parametrize(
    "wrong", [{"labels": DATA[0]["labels"][:1]}, {"labels": 3}], ids=["rows", "no tensor"]
)
def test_a_batch_that_is_none_leaves_pending_updates_to_be_seen(wrong: dict[str, Any]):
    """What cannot even be split, or brought to the device, fails before anything runs."""
    model, twin = build("opt"), build("opt")
    with HostBackend() as place, opened(twin, place) as engine:
        engine.step(DATA[0])
    with HostBackend() as place, opened(model, place) as engine:
        engine.step(DATA[0])
        with pytest.raises((ValueError, AttributeError)):
            engine.step(DATA[0] | wrong)
        assert same(weights(model), weights(twin))


def test_after_a_bad_batch_that_nobody_caught_the_model_has_its_weights():
    model, twin = build("opt"), build("opt")
    with HostBackend() as place, opened(twin, place) as engine:
        engine.step(DATA[0])
    with pytest.raises(IndexError), HostBackend() as place, opened(model, place) as engine:
        steps(engine, DATA[0], bad())
    assert same(weights(model), weights(twin))


def steps(engine: Engine, *batches: dict[str, Tensor]) -> None:
    for one in batches:
        engine.step(one)
    engine.flush()


def test_what_cannot_be_undone_is_said_once_and_closing_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The journal's disk fails, on a stream of its own."""
    with HostBackend() as place:
        engine = opened(build("opt"), place, folder=tmp_path)
        monkeypatch.setattr(Journal, "append", refuse_to_write)
        with pytest.raises(StreamFailed, match="no space left"):
            steps(engine, *DATA)
        with pytest.raises(RuntimeError, match="cannot go on; close it, and begin another"):
            engine.step(DATA[0])
        engine.close()
        engine.close()
    with HostBackend() as place, opened(build("opt"), place, folder=tmp_path) as again:
        assert again.num_steps == 0


def refuse_to_write(*_: object) -> None:
    raise OSError("no space left")


class Broken(Tokens):
    """One row, read in the third step, has a token that the embedding does not have."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = super().__getitem__(index)
        return row | {"input_ids": row["input_ids"] + VOCAB} if index == 4 else row


def test_the_trainer_raises_the_user_s_error_and_can_be_used_again(tmp_path: Path):
    model, twin = build("opt"), build("opt")
    settings = {"train_sampling_strategy": "sequential", "lr_scheduler_type": "constant"}
    args = arguments(tmp_path, **settings)

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            control.should_training_stop = state.global_step == 2

    with trainer(twin, args, callbacks=[Stop()]) as mine:
        mine.train()
    with trainer(model, args, train_dataset=Broken()) as mine:
        with pytest.raises(IndexError):
            mine.train()
        assert same(weights(model), weights(twin))  # the steps before are whole
        assert mine.evaluate(Tokens(4))["eval_loss"] > 0.0
        mine.train_dataset = Tokens()
        mine.train()
        assert mine.state.global_step == STEPS


def test_an_error_that_is_gone_keeps_no_tensor():
    """Or device memory would wait for a collection of cycles."""
    held: list[weakref.ref[Tensor]] = []

    def failing(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        loss = model_loss(model, batch)
        if armed:
            held.append(weakref.ref(loss))
            raise Refused
        return loss

    armed = False
    objective = Objective(example=DATA[0], loss_fn=failing)
    with (
        HostBackend() as place,
        Engine(
            build("opt"), Plan(), recipe(), objective, backend=place, optimizer=OPTIMIZER
        ) as engine,
    ):
        engine.step(DATA[0])
        armed = True
        gc.collect()
        gc.disable()
        try:
            with suppress(Refused):
                engine.step(DATA[1])
            kept = [tensor() for tensor in held]
        finally:
            gc.enable()
    assert kept
    assert not any(tensor is not None for tensor in kept)


@pytest.mark.parametrize("reference", ["none", "mezo"])
@pytest.mark.parametrize("noise", ["gaussian", "torch"])
def test_a_training_that_a_bad_batch_ended_goes_on_from_its_checkpoint(
    noise: Any, reference: Any, tmp_path: Path
):
    """With the seeds that it would have had, also where they are NumPy's: as if nothing was bad."""
    if reference != "none" and noise != "torch":
        pytest.skip("a reference has noise of its own")
    how = recipe(batch=2, sequence=SEQUENCE, noise=noise)
    if reference != "none":
        how = replace(how, perturbation="in_place", reference=reference)
    settings = {"train_sampling_strategy": "sequential", "lr_scheduler_type": "constant"}
    args = arguments(tmp_path / "a", save_strategy="steps", save_steps=2, **settings)
    plain = arguments(tmp_path / "b", **settings)
    model, twin = build("opt"), build("opt")
    with trainer(twin, plain, how, plan=Plan(policy=Policy.RESIDENT)) as mine:
        mine.train()
    with trainer(model, args, how, plan=Plan(policy=Policy.RESIDENT), train_dataset=Broken()) as it:
        with pytest.raises(IndexError):
            it.train()
        it.train_dataset = Tokens()
        it.train(resume_from_checkpoint=True)
        assert it.state.global_step == STEPS
    assert same(weights(model), weights(twin))
