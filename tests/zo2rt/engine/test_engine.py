"""The engine: every plan gives the bits of `resident`, and `resident` those of the textbook."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.families import BLOCKS, FAMILIES, batch, build
from tests.strategies import executed
from tests.thorough import crossed, examples, some_of
from tests.zo2rt.engine.engine_runs import (
    DEFERRED,
    LANES,
    NUM_STEPS,
    OPTIMIZER,
    engine,
    losses_of,
    recipe,
    resident,
    run,
    same,
)
from zo2rt.backends import Backend, HostBackend, VirtualBackend
from zo2rt.engine.engine import Engine, Objective
from zo2rt.noise import Draw, Extent, Update, perturb, sample_key, update
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.schedule.ops import Kind

PLANS = {
    "zo2": Plan(),
    "one slot": Plan(num_slots=1),
    "four slots, both at once": Plan(num_slots=4, scratch_copies=2),
    "write-back deferred": DEFERRED,
    "one block resident": Plan(resident_blocks=1),
    "dual": Plan(policy=Policy.DUAL),
    "no overlap": Plan(overlap=False),
    "naive": Plan(policy=Policy.NAIVE),
    "host_update": Plan(policy=Policy.HOST_UPDATE),
    "host_update, both at once": Plan(policy=Policy.HOST_UPDATE, scratch_copies=2),
}
BACKENDS = (HostBackend, VirtualBackend)


@pytest.mark.parametrize(
    ("family", "every", "backend"), crossed(some_of([*FAMILIES], every=2), [2, 1], BACKENDS)
)
def test_every_family_streams_with_the_bits_of_resident(
    family: str, every: int, backend: Callable[[], Backend]
):
    plan, how = Plan(write_back_every=every), recipe(microbatches=LANES)
    same(run(family, plan, how, backend), resident(family, how))


@pytest.mark.parametrize(
    ("name", "dtype", "backend"), crossed([*PLANS], [Dtype.FP32, Dtype.BF16], BACKENDS)
)
def test_every_plan_has_the_bits_of_resident(
    name: str, dtype: Dtype, backend: Callable[[], Backend]
):
    how = recipe(dtype, samples=LANES, noise="rademacher")
    same(run("llama-tied", PLANS[name], how, backend), resident("llama-tied", how))


SEEDS = st.integers(0, 10_000)


@given(family=st.sampled_from([*FAMILIES]), choice=executed(), seed=SEEDS)
@settings(max_examples=examples(100, ordinary=6))
def test_any_legal_order_has_the_same_bits(family: str, choice: tuple[Plan, Recipe], seed: int):
    """Random interleavings: families x policies x slots x write-back x lanes x noise."""
    plan, how = choice
    same(run(family, plan, how, partial(VirtualBackend, seed)), resident(family, how))


def test_one_step_is_the_textbook_s():
    """Whole model, W+ and W- built one after the other, one update: no units, no schedule."""
    model, data = build("gpt2"), batch("gpt2")
    twin = build("gpt2")
    key, parameters = sample_key(OPTIMIZER.seed, 0, 0), dict(twin.named_parameters())
    theta = {name: p.detach().clone() for name, p in parameters.items()}
    losses: list[float] = []
    with torch.no_grad():
        for sign in (1.0, -1.0):
            for p, (name, parameter) in enumerate(parameters.items()):
                flat = parameter.data.view(-1)
                coefficient = sign * OPTIMIZER.eps
                before = theta[name].view(-1)
                place = Extent(p=p)
                perturb(flat, before, place, key=key, coefficient=coefficient, kind="gaussian")
            losses.append(float(twin(**data).loss.double()))
    g = (losses[0] - losses[1]) / (2.0 * OPTIMIZER.eps)
    with engine(model, Plan(), recipe(), data) as trained:
        outcome = trained.step(data)
        assert trained.record.losses == tuple(losses)
    assert outcome.g == g
    for p, (name, tensor) in enumerate(theta.items()):
        decay = OPTIMIZER.weight_decay if tensor.dim() > 1 else 0.0
        one = Update(draws=(Draw(key=key, g=g),), lr=OPTIMIZER.lr, weight_decay=decay)
        update(tensor.view(-1), Extent(p=p), updates=[one], kind="gaussian")
        assert torch.equal(model.get_parameter(name), tensor), name


@pytest.mark.parametrize("after", range(NUM_STEPS - 1))
def test_a_flush_in_the_middle_changes_nothing(after: int):
    """Whether updates of some steps wait for it, or of one."""
    same(run("opt", DEFERRED, recipe(), flush_after=after), resident("opt", recipe()))


def test_a_trace_has_every_operation_of_every_step():
    trace = run("opt", Plan(), recipe()).trace
    forwards = [s for s in trace.spans if s.op.kind is Kind.FORWARD]
    assert len(forwards) == NUM_STEPS * (BLOCKS + 2)
    assert len(trace.losses_s) == NUM_STEPS


def test_the_last_update_is_not_lost():
    model, data = build("opt"), batch("opt")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with engine(model, Plan(), recipe(), data) as trained:
        trained.step(data)
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert set(changed) == set(before)


def test_what_is_saved_holds_every_pending_update(tmp_path: Path):
    model, data = build("opt"), batch("opt")
    with engine(model, Plan(), recipe(), data) as trained:
        trained.step(data)
        trained.save(tmp_path)
    saved = type(model).from_pretrained(tmp_path).state_dict()  # type: ignore[attr-defined]
    assert [k for k, v in model.state_dict().items() if not torch.equal(v, saved[k])] == []


def test_a_step_with_nan_changes_no_weight():
    model, data = build("opt"), batch("opt")
    with torch.no_grad():
        model.get_parameter("model.decoder.layers.1.fc1.bias").fill_(torch.inf)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with engine(model, Plan(), recipe(), data) as trained:
        assert trained.step(data).skipped
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_zero_gradient_still_decays():
    model, data = build("opt"), batch("opt")
    name = "model.decoder.layers.0.fc1.weight"
    before = model.get_parameter(name).clone()
    objective = Objective(example=data, loss_fn=lambda m, b: m(**b).loss * 0.0)
    with (
        HostBackend() as backend,
        Engine(model, Plan(), recipe(), objective, backend=backend, optimizer=OPTIMIZER) as trained,
    ):
        assert trained.step(data).g == 0.0
    decay = torch.tensor(1.0 - OPTIMIZER.lr * OPTIMIZER.weight_decay, dtype=torch.float32)
    assert torch.equal(model.get_parameter(name), before * decay)


def test_seed_and_learning_rate_of_one_step_may_be_zero():
    model, data = build("opt"), batch("opt")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with engine(model, Plan(), recipe(), data) as trained:
        first = trained.step(data, lr=0.0, seed=0)
        again = trained.step(data, lr=0.0, seed=1)
    assert first.g != again.g
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_model_gets_tensors_of_its_own_back():
    model, data = build("opt"), batch("opt")
    parameters = dict(model.named_parameters())
    with engine(model, Plan(), recipe(), data) as trained:
        trained.step(data)
        shown = {p.data.untyped_storage().data_ptr() for p in parameters.values()}
        assert len(shown) == BLOCKS + 2, "a flat buffer for each unit"
    assert dict(model.named_parameters()) == parameters
    for p in parameters.values():
        assert p.data.untyped_storage().nbytes() == p.numel() * p.element_size()


def test_a_model_of_another_dtype_is_refused():
    model, data = build("opt"), batch("opt")
    with (
        pytest.raises(ValueError, match=r"must be torch.bfloat16 for storage_dtype=bf16; got"),
        engine(model, Plan(), recipe(Dtype.BF16), data),
    ):
        pass


@pytest.mark.parametrize(
    ("plan", "how", "reason"),
    [
        (Plan(tier="nvme"), recipe(), "tier=nvme needs a folder"),
        (Plan(policy=Policy.ZO2_REFERENCE), recipe(), "stands for other code"),
        (Plan(), recipe(trainable="lora:2"), "needs blocks with frozen weights and trained"),
    ],
)
def test_what_is_not_executed_is_refused(plan: Plan, how: Recipe, reason: str):
    with (
        pytest.raises(ValueError, match=reason),
        engine(build("opt"), plan, how, batch("opt")),
    ):
        pass


def twice(model: nn.Module, one: dict[str, Tensor]) -> Tensor:
    """A loss with two forward passes, the second of other tokens."""
    flipped = {**one, "input_ids": one["input_ids"].flip(1)}
    return model(**one).loss - 0.5 * model(**flipped).loss


@cache
def losses_of_twice(plan: Plan, backend: Callable[[], Backend]) -> list[tuple[float, ...]]:
    """Of some steps, and of an evaluation, which a forward must confirm."""
    model, data = build("opt"), batch("opt")
    objective = Objective(example=data, loss_fn=twice)
    with (
        backend() as place,
        Engine(model, plan, recipe(), objective, backend=place, optimizer=OPTIMIZER) as trained,
    ):
        found = losses_of(trained, [data] * (NUM_STEPS - 1))
        found.append((trained.evaluate(data),))
        assert trained.divergence is None
    assert found[-1] == (float(twice(model, data).detach()),)
    return found


@pytest.mark.parametrize(
    ("name", "backend"),
    crossed(some_of([name for name in PLANS if name != "write-back deferred"], every=2), BACKENDS),
)
def test_a_loss_may_run_the_model_twice(name: str, backend: Callable[[], Backend]):
    want = losses_of_twice(Plan(policy=Policy.RESIDENT), HostBackend)
    assert losses_of_twice(PLANS[name], backend) == want


def test_a_loss_with_two_forwards_needs_every_write_back():
    objective = Objective(example=batch("opt"), loss_fn=twice)
    wanted = f"use write_back_every=1; got {DEFERRED.write_back_every}"
    with HostBackend() as place, pytest.raises(ValueError, match=wanted):
        Engine(build("opt"), DEFERRED, recipe(), objective, backend=place, optimizer=OPTIMIZER)


def test_in_place_takes_one_forward():
    objective = Objective(example=batch("opt"), loss_fn=twice)
    how = recipe(perturbation="in_place")
    with HostBackend() as place, pytest.raises(ValueError, match="the loss runs the model 2 times"):
        Engine(build("opt"), Plan(), how, objective, backend=place, optimizer=OPTIMIZER)


def test_an_evaluation_may_generate():
    def count(model: Any, one: dict[str, Tensor]) -> float:
        made = model.generate(one["input_ids"], max_new_tokens=4, do_sample=False, use_cache=False)
        return float(made[:, -4:].sum())

    model, data = build("llama"), batch("llama")
    want = count(model, data)
    with engine(model, Plan(), recipe(), data) as trained:
        assert trained.evaluate(data, count) == want
