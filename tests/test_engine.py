"""The engine: every plan gives the bits of `resident`, and `resident` those of the textbook."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.families import BLOCKS, FAMILIES, batch, build
from zo2rt.backends import Backend, HostBackend, VirtualBackend
from zo2rt.conformance import first_divergence
from zo2rt.engine import Engine, MezoSgd, Objective
from zo2rt.noise import Place, Record, perturb, sample_key, update
from zo2sim.dtypes import Dtype
from zo2sim.plan import Plan, Policy, Recipe
from zo2sim.schedule import Kind
from zo2sim.trace import Trace

NUM_STEPS = 4
OPTIMIZER = MezoSgd(lr=1e-2, eps=1e-3, weight_decay=0.1, seed=7)
PLANS = {
    "zo2": Plan(),
    "one slot": Plan(num_slots=1),
    "four slots, both at once": Plan(num_slots=4, scratch_copies=2),
    "write-back every 3": Plan(write_back_every=3),
    "one block resident": Plan(resident_blocks=1),
    "no overlap": Plan(overlap=False),
    "dual": Plan(policy=Policy.DUAL),
    "naive": Plan(policy=Policy.NAIVE),
    "host_update": Plan(policy=Policy.HOST_UPDATE),
}


@dataclass(frozen=True)
class Run:
    """All that a run leaves behind."""

    losses: list[tuple[float, ...]]
    gradients: list[tuple[float, ...]]
    evaluation: float
    weights: dict[str, Tensor]
    trace: Trace


def recipe(dtype: Dtype = Dtype.FP32, **changes: Any) -> Recipe:
    return Recipe(storage_dtype=dtype, wire_dtype=dtype, compute_dtype=dtype, **changes)


def run(
    family: str,
    plan: Plan,
    how: Recipe,
    backend: Callable[[], Backend] = HostBackend,
    *,
    flush_after: int | None = None,
) -> Run:
    torch_dtype = torch.bfloat16 if how.storage_dtype is Dtype.BF16 else torch.float32
    model = build(family, dtype=torch_dtype)
    data = [batch(family, seed=s, rows=2 * how.microbatches) for s in range(NUM_STEPS)]
    losses: list[tuple[float, ...]] = []
    gradients: list[tuple[float, ...]] = []
    with engine(model, plan, how, data[0], backend) as trained:
        for number, one in enumerate(data):
            outcome = trained.step(one)
            losses.append(outcome.losses)
            gradients.append(outcome.projected_gradients)
            if number == flush_after:
                trained.flush()
        trace = trained.trace()
        divergence = first_divergence(trained.program, trace.spans) if flush_after is None else None
        evaluation = trained.evaluate(data[0])
    assert divergence is None
    return Run(losses, gradients, evaluation, dict(model.state_dict()), trace)


@contextmanager
def engine(
    model: nn.Module,
    plan: Plan,
    how: Recipe,
    example: dict[str, Tensor],
    backend: Callable[[], Backend] = HostBackend,
    optimizer: MezoSgd = OPTIMIZER,
) -> Iterator[Engine]:
    objective = Objective(example=example)
    with (
        backend() as place,
        Engine(model, plan, how, objective, backend=place, optimizer=optimizer) as trained,
    ):
        yield trained


def same(one: Run, other: Run) -> None:
    assert one.losses == other.losses
    assert one.gradients == other.gradients
    assert one.evaluation == other.evaluation
    different = [k for k, v in one.weights.items() if not torch.equal(v, other.weights[k])]
    assert different == []


@cache
def resident(how: Recipe) -> Run:
    """The run that every plan is compared with."""
    return run("opt", Plan(policy=Policy.RESIDENT), how)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_streams_with_the_bits_of_resident(family: str):
    how = recipe(microbatches=2)
    want = run(family, Plan(policy=Policy.RESIDENT), how)
    same(run(family, Plan(), how), want)
    same(run(family, Plan(write_back_every=2), how, VirtualBackend), want)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("dtype", [Dtype.FP32, Dtype.BF16])
def test_every_plan_has_the_bits_of_resident(plan: Plan, dtype: Dtype):
    how = recipe(dtype, samples=2, noise="rademacher")
    want = run("llama-tied", Plan(policy=Policy.RESIDENT), how)
    same(run("llama-tied", plan, how), want)
    same(run("llama-tied", plan, how, VirtualBackend), want)


@given(
    plan=st.sampled_from([*PLANS.values()]),
    seed=st.integers(0, 10_000),
    how=st.builds(
        recipe,
        microbatches=st.sampled_from([1, 3]),
        samples=st.integers(1, 2),
        noise=st.sampled_from(["gaussian", "rademacher"]),
    ),
)
@settings(max_examples=200)
def test_any_legal_order_has_the_same_bits(plan: Plan, seed: int, how: Recipe):
    same(run("opt", plan, how, lambda: VirtualBackend(seed=seed)), resident(how))


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
                place = Place(p=p)
                perturb(flat, before, place, key=key, coefficient=coefficient, kind="gaussian")
            losses.append(float(twin(**data).loss.double()))
    g = (losses[0] - losses[1]) / (2.0 * OPTIMIZER.eps)
    with engine(model, Plan(), recipe(), data) as trained:
        outcome = trained.step(data)
    assert outcome.losses == tuple(losses)
    assert outcome.projected_gradients == (g,)
    for p, (name, tensor) in enumerate(theta.items()):
        decay = OPTIMIZER.weight_decay if tensor.dim() > 1 else 0.0
        record = Record(
            step=0,
            sample_keys=(key,),
            projected_gradients=(g,),
            lr=OPTIMIZER.lr,
            weight_decay=decay,
            eps=OPTIMIZER.eps,
        )
        update(tensor.view(-1), Place(p=p), records=[record], kind="gaussian")
        assert torch.equal(model.get_parameter(name), tensor), name


@pytest.mark.parametrize("after", range(3))
def test_a_flush_in_the_middle_changes_nothing(after: int):
    plan = Plan(write_back_every=3)
    same(run("opt", plan, recipe(), flush_after=after), run("opt", plan, recipe()))


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
        assert trained.step(data).projected_gradients == (0.0,)
    decay = torch.tensor(1.0 - OPTIMIZER.lr * OPTIMIZER.weight_decay, dtype=torch.float32)
    assert torch.equal(model.get_parameter(name), before * decay)


def test_seed_and_learning_rate_of_one_step_may_be_zero():
    model, data = build("opt"), batch("opt")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with engine(model, Plan(), recipe(), data) as trained:
        first = trained.step(data, lr=0.0, seed=0)
        again = trained.step(data, lr=0.0, seed=1)
    assert first.projected_gradients != again.projected_gradients
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_model_gets_its_own_tensors_back():
    model, data = build("opt"), batch("opt")
    places = {name: p.data_ptr() for name, p in model.named_parameters()}
    with engine(model, Plan(), recipe(), data) as trained:
        trained.step(data)
    assert {name: p.data_ptr() for name, p in model.named_parameters()} == places


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
        (Plan(tier="nvme"), recipe(), "not executed yet; use tier=ram"),
        (Plan(policy=Policy.ZO2_REFERENCE), recipe(), "stands for other code"),
        (Plan(), recipe(perturbation="in_place"), "in_place perturbation is not executed yet"),
        (Plan(), recipe(trainable="lora:2"), "LoRA is not executed yet"),
    ],
)
def test_what_is_not_executed_yet_is_refused(plan: Plan, how: Recipe, reason: str):
    with (
        pytest.raises(ValueError, match=reason),
        engine(build("opt"), plan, how, batch("opt")),
    ):
        pass
