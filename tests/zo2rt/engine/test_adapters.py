"""LoRA through PEFT: only the adapters train, the frozen base is streamed and never changes."""

from functools import cache
from itertools import product
from typing import Any

import pytest
import torch

from tests.families import batch, build
from tests.thorough import crossed
from tests.zo2rt.engine.adapted_models import RANK, adapted
from tests.zo2rt.engine.engine_runs import NUM_STEPS, OPTIMIZER, engine, losses_of, recipe
from zo2rt.backends import Backend, HostBackend, VirtualBackend
from zo2sim.dtypes import Dtype
from zo2sim.memory.account import MemoryPlace
from zo2sim.memory.runtime import ARENA, account
from zo2sim.models.config import from_config
from zo2sim.plan.choices import Plan, Policy, Recipe

# PEFT 0.21 asks transformers 5.24 for a property that has been renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

LORA = recipe(trainable=f"lora:{RANK}", sequence=8)


def trained(family: str, plan: Plan, how: Recipe, backend: Any = HostBackend) -> Any:
    model = adapted(family)
    data = [batch(family, seed=s) for s in range(NUM_STEPS - 1)]
    with engine(model, plan, how, data[0], backend) as running:
        losses = losses_of(running, data)
    return losses, dict(model.state_dict())


@cache
def resident(family: str, how: Recipe) -> Any:
    """What every plan is compared with."""
    return trained(family, Plan(policy=Policy.RESIDENT), how)


PLANS = (Plan(), Plan(num_slots=1, scratch_copies=2), Plan(policy=Policy.DUAL))


@pytest.mark.parametrize(
    ("where", "compute", "backend"),
    crossed(
        [*product(PLANS, ["llama", "gpt2"])],
        [Dtype.FP32, Dtype.BF16],
        [HostBackend, VirtualBackend],
    ),
    ids=str,
)
def test_adapters_train_with_the_bits_of_resident(
    where: tuple[Plan, str], compute: Dtype, backend: type[Backend]
):
    plan, family = where
    how = Recipe(
        trainable=LORA.trainable,
        storage_dtype=Dtype.FP32,
        wire_dtype=Dtype.FP32,
        compute_dtype=compute,
    )
    before = {k: v.clone() for k, v in adapted(family).state_dict().items()}
    losses, weights = resident(family, how)
    got = trained(family, plan, how, backend)
    assert got[0] == losses
    assert all(torch.equal(v, weights[k]) for k, v in got[1].items())
    changed = {k for k, v in weights.items() if not torch.equal(v, before[k])}
    assert changed == {k for k in weights if "lora_" in k}


def test_what_a_head_keeps_for_its_blocks_it_does_not_perturb():
    model = adapted("llama")
    with engine(model, Plan(), LORA, batch("llama")) as running:
        head = running.units.order[0]
        assert len(head.trained) == 3 * 7 * 2
        assert not any(p.trainable for p in head.reads)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_device_buffers_are_those_of_the_account(family: str):
    model, plan = adapted(family), Plan()
    config: Any = model.config
    shape = from_config(config.to_dict(), name=family)
    predicted = account(shape, plan, LORA).itemised(MemoryPlace.DEVICE)
    with engine(model, plan, LORA, batch(family)) as running:
        found = running.device_bytes
    assert found == sum(predicted.get(name, 0) for name in ARENA)


def test_the_recipe_must_say_that_blocks_are_frozen():
    with (
        pytest.raises(ValueError, match="needs blocks with frozen weights and trained adapters"),
        engine(build("opt"), Plan(), LORA, batch("opt")),
    ):
        pass


def test_without_lora_adapters_move_with_their_blocks():
    model = adapted("llama")
    with engine(model, Plan(), recipe(), batch("llama")) as running:
        running.step(batch("llama"))
        assert running.units[0].trained


def test_the_optimizer_leaves_frozen_weights_alone():
    model = adapted("llama")
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    with engine(model, Plan(), recipe(), batch("llama"), optimizer=OPTIMIZER) as running:
        running.step(batch("llama"))
    assert all(torch.equal(model.get_parameter(n), v) for n, v in frozen.items())
