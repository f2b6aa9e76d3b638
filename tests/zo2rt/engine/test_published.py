"""`reference`: the bits of MeZO's and of ZO2's published code, whatever streams the model."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.families import FAMILIES, SEQUENCE, batch, build
from tests.thorough import THOROUGH, crossed
from tests.zo2rt.engine.engine_runs import engine, recipe
from tests.zo2rt.engine.published_loops import UPDATES, Loop, Settings
from tests.zo2rt.engine.test_trainer import ROWS, arguments, same, trainer, weights
from tests.zo2rt.engine.test_trainer import STEPS as TRAINER_STEPS
from zo2rt.backends import Backend, HostBackend, VirtualBackend
from zo2rt.engine.engine import Engine, MezoSgd, Objective
from zo2rt.model.codec import TORCH_DTYPES
from zo2rt.model.decay import DecayRule, by_name, by_type
from zo2rt.optimizer import Estimator, published_gradient
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe

STEPS = 3 if THOROUGH else 2
SEEDS = [int(s) for s in np.random.RandomState(0).randint(1_000_000_000, size=STEPS)]
RESIDENT = Plan(policy=Policy.RESIDENT)
PLANS = (Plan(), RESIDENT) if THOROUGH else (Plan(),)
MORE_PLANS = {
    "one slot": Plan(num_slots=1),
    "one block resident": Plan(resident_blocks=1),
    "dual": Plan(policy=Policy.DUAL),
    "naive": Plan(policy=Policy.NAIVE),
    "update in a trip of its own": Plan(deferred_update=False),
}
NUMBERS = [(Dtype.FP32, 0.1), (Dtype.FP32, 0.0), (Dtype.BF16, 0.0), (Dtype.BF16, 0.1)]


@dataclass(frozen=True)
class Case:
    """One run, of the published loop and of the engine."""

    family: str
    reference: str
    dtype: Dtype = Dtype.FP32
    weight_decay: float = 0.1
    frozen: str = "nothing"
    """Parameters with this in their name are not trained."""

    @property
    def recipe(self) -> Recipe:
        how: dict[str, Any] = {"noise": "torch", "perturbation": "in_place"}
        return recipe(self.dtype, reference=self.reference, **how)

    @property
    def settings(self) -> Settings:
        return Settings(lr=1e-2, eps=1e-3, weight_decay=self.weight_decay)

    @property
    def optimizer(self) -> MezoSgd:
        return MezoSgd(**self.settings._asdict())

    @property
    def data(self) -> list[dict[str, Tensor]]:
        return [batch(self.family, seed=step) for step in range(STEPS)]

    def model(self) -> nn.Module:
        model = build(self.family, dtype=TORCH_DTYPES[self.dtype])
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(self.frozen not in name)
        return model


@dataclass(frozen=True)
class Bits:
    """All that must be equal."""

    losses: list[tuple[float, float]]
    gradients: list[float]
    weights: dict[str, Tensor]


@cache
def published(case: Case) -> Bits:
    model = case.model()
    loop = Loop(model, UPDATES[case.reference], case.settings)
    for one, seed in zip(case.data, SEEDS, strict=True):
        loop.step(one, seed)
    return Bits(loop.losses, loop.gradients, dict(model.state_dict()))


def ours(case: Case, plan: Plan, backend: type[Backend] = HostBackend, **objective: Any) -> Bits:
    """As a user hands over the seeds of another code's run."""
    model, data = case.model(), case.data
    goal = Objective(example=data[0], **objective)
    losses: list[tuple[float, float]] = []
    gradients: list[float] = []
    with (
        backend() as place,
        Engine(model, plan, case.recipe, goal, backend=place, optimizer=case.optimizer) as trained,
    ):
        for one, seed in zip(data, SEEDS, strict=True):
            g = trained.step(one, seed=seed).g
            assert g is not None
            gradients.append(g)
            plus, minus = trained.record.losses
            losses.append((plus, minus))
    return Bits(losses, gradients, dict(model.state_dict()))


def check(got: Bits, want: Bits) -> None:
    assert got.losses == want.losses
    assert got.gradients == want.gradients
    assert different(got, want) == []


def different(one: Bits, other: Bits) -> list[str]:
    """Bit patterns, so a zero's sign counts."""
    return [k for k, v in one.weights.items() if not _equal(v, other.weights[k])]


def _equal(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


@pytest.mark.parametrize(
    "case",
    [
        Case(family, reference, *numbers)
        for family, reference, numbers in crossed([*FAMILIES], [*UPDATES], NUMBERS)
    ],
    ids=str,
)
def test_every_family_has_the_published_bits(case: Case):
    for plan in PLANS:
        check(ours(case, plan), published(case))


@pytest.mark.parametrize(
    ("family", "reference"), crossed(["opt", "gpt2", "bert", "llama-tied"], [*UPDATES])
)
def test_so_has_fp16(family: str, reference: str):
    case = Case(family, reference, Dtype.FP16)
    for plan in PLANS:
        check(ours(case, plan), published(case))


@pytest.mark.parametrize(
    ("name", "reference", "family", "backend"),
    crossed([*MORE_PLANS], [*UPDATES], ["gpt2", "qwen3"], [VirtualBackend, HostBackend]),
)
def test_every_plan_has_the_published_bits(
    name: str, reference: str, family: str, backend: type[Backend]
):
    case = Case(family, reference)
    check(ours(case, MORE_PLANS[name], backend), published(case))


@pytest.mark.parametrize(
    ("frozen", "reference"),
    crossed(["embed_positions", "final_layer_norm", "bias"], [*UPDATES]),
)
def test_what_is_frozen_has_no_noise(frozen: str, reference: str):
    """OPT registers its last norm before its blocks, which have norms of that name too."""
    case = Case("opt", reference, frozen=frozen)
    for plan in PLANS:
        check(ours(case, plan), published(case))


@pytest.mark.parametrize("decays", [by_name("bias"), by_name("bias", "layer_norm"), by_type])
def test_without_decay_no_rule_of_it_changes_a_bit(decays: DecayRule):
    """ZO2's order of products goes by its own names: GPT-2's norms are called ``ln``."""
    case = Case("gpt2", "zo2", weight_decay=0.0)
    check(ours(case, RESIDENT, decays=decays), published(case))


def test_a_rule_of_ones_own_holds():
    """Both codes let LLaMA's last norm decay, which they do not know by name."""
    case = Case("llama", "mezo")
    own = ours(case, RESIDENT, decays=by_name("bias", "norm"))
    assert "model.norm.weight" in different(own, published(case))


def test_the_codes_differ_from_each_other_and_from_no_reference():
    case = Case("opt", "mezo", weight_decay=0.0)
    assert different(published(case), published(replace(case, reference="zo2")))
    assert different(published(case), ours(replace(case, reference="none"), RESIDENT))


@pytest.mark.parametrize(
    ("dtype", "g"),
    [
        (torch.bfloat16, 652.0),
        (torch.float16, 652.5),
        (torch.float32, 652.0340576171875),
        (torch.float64, (2.71828182845904 - 1.41421356237309) / 2e-3),
    ],
)
def test_losses_are_divided_in_their_own_dtype(dtype: torch.dtype, g: float):
    plus, minus = (torch.tensor(x, dtype=dtype) for x in (2.71828182845904, 1.41421356237309))
    assert published_gradient(plus, minus, eps=1e-3) == g


def test_a_loss_reaches_the_division_as_it_was_returned():
    """BERT's classifier computes its loss in the weights' dtype: the difference has 8 bits."""
    case = Case("bert", "mezo", Dtype.BF16)
    got = ours(case, RESIDENT)
    assert got.gradients == published(case).gradients
    assert all(float(torch.tensor(g, dtype=torch.bfloat16)) == g for g in got.gradients)


def test_a_sample_s_seed_is_one_further():
    data, how = batch("opt"), recipe(noise="torch", perturbation="in_place", samples=2)
    with engine(build("opt"), Plan(), how, data) as trained:
        trained.step(data, seed=5)
        assert [draw.key for draw in trained.record.draws] == [5, 6]


# ---- What has no published meaning ----


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"estimator": Estimator(clip=1.0)}, "updates follow g as it is; got Estimator"),
        ({"estimator": Estimator(rule="sign")}, "updates follow g as it is; got Estimator"),
        ({"stochastic_rounding": True}, "torch noise has none; use stochastic_rounding=False"),
        ({"sparsity": 0.5}, "Sparse-MeZO takes its masks from the pristine master weights"),
    ],
)
def test_settings_that_the_codes_do_not_have_are_refused(changes: dict[str, Any], reason: str):
    case = Case("opt", "zo2")
    optimizer = replace(case.optimizer, **changes)
    with (
        pytest.raises(ValueError, match=reason),
        engine(case.model(), Plan(), case.recipe, case.data[0], optimizer=optimizer),
    ):
        pass


def test_a_journal_is_refused(tmp_path: Path):
    case = Case("opt", "mezo")
    with (
        pytest.raises(ValueError, match="a run with a journal can be replayed, which needs"),
        engine(case.model(), Plan(), case.recipe, case.data[0], folder=tmp_path),
    ):
        pass


# ---- Behind the Trainer ----

RATES = [1e-2 * ((TRAINER_STEPS - number) / TRAINER_STEPS) for number in range(TRAINER_STEPS)]


def in_trainer(case: Case) -> Recipe:
    return replace(case.recipe, batch=ROWS, sequence=SEQUENCE)


@pytest.mark.parametrize("reference", UPDATES)
def test_the_trainer_draws_the_seeds_that_the_codes_draw(tmp_path: Path, reference: str):
    """From NumPy's global generator, which the Trainer seeds with the seed of its arguments."""
    case = Case("gpt2", reference)
    model, twin = case.model(), case.model()
    with trainer(model, arguments(tmp_path), in_trainer(case), plan=Plan()) as mine:
        torch.manual_seed(7)
        batches = [*mine.get_train_dataloader()]
        mine.train()
    seeds = np.random.RandomState(7).randint(1_000_000_000, size=TRAINER_STEPS)
    loop = Loop(twin, UPDATES[reference], case.settings)
    for one, seed, lr in zip(batches, seeds, RATES, strict=True):
        loop.step(one, int(seed), lr)
    assert same(weights(model), weights(twin))


@pytest.mark.parametrize("reference", ["none", "mezo"])
def test_a_resumed_training_draws_what_an_undisturbed_one_draws(tmp_path: Path, reference: str):
    case = Case("opt", reference)
    whole, stopped, resumed = (case.model() for _ in range(3))
    saving: dict[str, Any] = {"max_steps": 2, "save_strategy": "steps", "save_steps": 2}
    for model, changes, checkpoint in (
        (whole, {}, None),
        (stopped, saving, None),
        (resumed, {}, True),
    ):
        args = arguments(tmp_path, lr_scheduler_type="constant", **changes)
        with trainer(model, args, in_trainer(case), plan=Plan()) as mine:
            mine.train(resume_from_checkpoint=checkpoint)
    assert same(weights(resumed), weights(whole))


def test_no_two_steps_of_the_trainer_have_the_same_torch_noise(tmp_path: Path):
    """As an engine by hand has it, which draws a seed for every step."""
    case = Case("opt", "none")
    model, twin, how = case.model(), case.model(), in_trainer(case)
    with trainer(model, arguments(tmp_path), how, plan=Plan()) as mine:
        torch.manual_seed(7)
        batches = [*mine.get_train_dataloader()]
        mine.train()
    optimizer = replace(case.optimizer, seed=7)
    with engine(twin, Plan(), how, batches[0], optimizer=optimizer) as by_hand:
        for one, lr in zip(batches, RATES, strict=True):
            by_hand.step(one, lr=lr)
    assert same(weights(model), weights(twin))
