"""What of g reaches the weights, and which weights it reaches."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.families import batch, build
from tests.zo2rt.engine.engine_runs import DEFERRED, NUM_STEPS, OPTIMIZER, engine, recipe
from zo2rt.engine.engine import MezoSgd
from zo2rt.journal.durable import Disk
from zo2rt.journal.replay import weights_at
from zo2rt.noise import thresholds
from zo2rt.optimizer import Estimator, projected_gradients
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe

NAN = float("nan")


@pytest.mark.parametrize(
    ("estimator", "applied"),
    [
        (Estimator(), (-3.0, 0.0, 0.5)),
        (Estimator(clip=1.0), (-1.0, 0.0, 0.5)),
        (Estimator(rule="sign"), (-1.0, 0.0, 1.0)),
        (Estimator(rule="sign", clip=0.1), (-1.0, 0.0, 1.0)),
    ],
)
def test_rules(estimator: Estimator, applied: tuple[float, ...]):
    assert tuple(map(estimator.applied, (-3.0, 0.0, 0.5))) == applied
    assert estimator.applied(NAN) != estimator.applied(NAN), "a NaN must be seen, and skipped"


def test_g_is_the_difference_of_mean_losses():
    losses = (1.0, 3.0, 0.5, 0.5, 4.0, 4.0, 2.0, 2.0)
    found = projected_gradients(losses, samples=2, microbatches=2, eps=0.5)
    assert found == (1.5, 2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": 0.0}, "clip must be > 0"),
        ({"clip": float("inf")}, "and finite"),
        ({"rule": "adam"}, "rule must be one of sgd, sign"),
    ],
)
def test_what_is_no_rule_is_refused(change: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        Estimator(**change)  # type: ignore[arg-type]


def test_the_outcome_shows_g_and_the_record_what_was_applied():
    optimizer = replace(OPTIMIZER, estimator=Estimator(rule="sign"))
    with engine(build("opt"), Plan(), recipe(), batch("opt"), optimizer=optimizer) as trained:
        outcome = trained.step(batch("opt"))
        (draw,) = trained.record.draws
    assert outcome.g is not None
    assert abs(outcome.g) not in (0.0, 1.0)
    assert draw.g == (1.0 if outcome.g > 0 else -1.0)


@pytest.mark.parametrize("plan", [Plan(), DEFERRED, Plan(policy=Policy.DUAL)])
def test_sparse_mezo_trains_small_weights_only(plan: Plan, tmp_path: Path):
    optimizer = replace(OPTIMIZER, sparsity=0.75)
    weights: list[dict[str, torch.Tensor]] = []
    for number, one in enumerate((Plan(policy=Policy.RESIDENT), plan)):
        model = build("llama")
        folder = tmp_path / str(number)
        with engine(
            model, one, recipe(), batch("llama"), optimizer=optimizer, folder=folder
        ) as trained:
            for seed in range(NUM_STEPS):
                trained.step(batch("llama", seed=seed))
        weights.append({n: p.detach() for n, p in model.named_parameters()})
        assert all(
            torch.equal(v, weights[-1][k]) for k, v in weights_at(Disk(), folder, NUM_STEPS).items()
        )
    assert all(torch.equal(v, weights[1][k]) for k, v in weights[0].items())
    for name, before in build("llama").named_parameters():
        if before.dim() > 1:
            threshold = thresholds({name: before.detach().view(-1)}, 0.75)[name]
            stayed = weights[0][name] == before
            large = before.abs() > threshold
            assert 0.7 < large.float().mean() < 0.76
            assert bool(stayed[large].all()), name
            assert bool((~stayed[~large]).float().mean() > 0.99), name


@pytest.mark.parametrize(
    "how",
    [recipe(perturbation="in_place"), Recipe(storage_dtype=Dtype.FP32, wire_dtype=Dtype.FP8)],
)
def test_masks_need_pristine_masters(how: Recipe):
    plan = Plan(policy=Policy.HOST_UPDATE if how.recoded else Policy.ZO2)
    with (
        pytest.raises(ValueError, match="takes its masks from the pristine master weights"),
        engine(build("opt"), plan, how, batch("opt"), optimizer=MezoSgd(lr=0.1, sparsity=0.5)),
    ):
        pass
