"""The arena takes, to the byte, what the predictor's memory account says."""

from dataclasses import replace
from typing import Any

import pytest

from tests.families import batch, build
from tests.thorough import crossed
from tests.zo2rt.engine.engine_runs import engine
from zo2rt.backends import HostBackend
from zo2rt.engine.engine import Engine, MezoSgd, Objective
from zo2sim.dtypes import Dtype
from zo2sim.memory.account import MemoryPlace
from zo2sim.memory.runtime import ARENA, account
from zo2sim.models.config import from_config
from zo2sim.plan.choices import Plan, Policy, Recipe

FP32 = Recipe(storage_dtype=Dtype.FP32, wire_dtype=Dtype.FP32, compute_dtype=Dtype.FP32, sequence=8)


FAMILIES = ("opt", "gpt2", "llama", "llama-tied", "qwen3", "mistral")
PLANS = (
    Plan(),
    Plan(num_slots=3, scratch_copies=2),
    Plan(resident_blocks=2),
    Plan(num_slots=3, scratch_copies=2, resident_blocks=1),
    Plan(policy=Policy.RESIDENT),
    Plan(policy=Policy.HOST_UPDATE, num_slots=1),
)
RECIPES = (
    replace(FP32, storage_dtype=Dtype.FP32, compute_dtype=Dtype.BF16),
    replace(FP32, wire_dtype=Dtype.FP8),
    replace(FP32, wire_dtype=Dtype.BF16, compute_dtype=Dtype.BF16),
    replace(FP32, perturbation="in_place"),
    replace(FP32, perturbation="in_place", noise="torch"),
)


@pytest.mark.parametrize(("family", "plan"), crossed(FAMILIES, PLANS), ids=str)
def test_device_buffers_are_those_of_the_account(family: str, plan: Plan):
    assert found_bytes(family, plan, FP32) == predicted_bytes(family, plan, FP32)


@pytest.mark.parametrize(("how", "family"), crossed(RECIPES, ["llama", "llama-tied"]), ids=str)
def test_other_recipes_keep_to_their_account(how: Recipe, family: str):
    plan = Plan(policy=Policy.HOST_UPDATE if how.recoded else Policy.ZO2)
    assert found_bytes(family, plan, how) == predicted_bytes(family, plan, how)


def test_nothing_is_allocated_after_the_second_step():
    data = batch("opt")
    with HostBackend() as backend, engine(build("opt"), Plan(), FP32, data, lambda: backend) as one:
        for _ in range(2):
            one.step(data)
        given_out = backend.memory()
        for _ in range(3):
            one.step(data)
        assert backend.memory() == given_out


def found_bytes(family: str, plan: Plan, how: Recipe) -> int:
    objective, optimizer = Objective(example=batch(family)), MezoSgd(lr=0.1)
    with (
        HostBackend() as backend,
        Engine(build(family), plan, how, objective, backend=backend, optimizer=optimizer) as engine,
    ):
        assert backend.memory().device_bytes == engine.device_bytes
        return engine.device_bytes


def predicted_bytes(family: str, plan: Plan, how: Recipe) -> int:
    config: Any = build(family).config
    predicted = account(from_config(config.to_dict(), name=family), plan, how)
    items = predicted.itemised(MemoryPlace.DEVICE)
    return sum(items.get(name, 0) for name in ARENA)
