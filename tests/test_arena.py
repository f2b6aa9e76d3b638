"""The arena takes, to the byte, what the predictor's memory account says."""

from typing import Any

import pytest

from tests.families import batch, build
from zo2rt.backends import HostBackend
from zo2rt.engine import Engine, MezoSgd, Objective
from zo2sim.dtypes import Dtype
from zo2sim.memory import account
from zo2sim.memory_account import Place
from zo2sim.model_config import from_config
from zo2sim.plan import Plan, Policy, Recipe

FP32 = Recipe(storage_dtype=Dtype.FP32, wire_dtype=Dtype.FP32, compute_dtype=Dtype.FP32, sequence=8)


@pytest.mark.parametrize("family", ["opt", "gpt2", "llama", "llama-tied", "qwen3", "mistral"])
@pytest.mark.parametrize(
    "plan",
    [
        Plan(),
        Plan(num_slots=3, scratch_copies=2),
        Plan(resident_blocks=2),
        Plan(policy=Policy.RESIDENT),
        Plan(policy=Policy.HOST_UPDATE, num_slots=1),
    ],
    ids=str,
)
def test_device_buffers_are_those_of_the_account(family: str, plan: Plan):
    model = build(family)
    config: Any = model.config
    shape = from_config(config.to_dict(), name=family)
    predicted = account(shape, plan, FP32).itemised(Place.DEVICE)
    names = ("resident units", "resident blocks", "slots", "scratch")
    objective, optimizer = Objective(example=batch(family)), MezoSgd(lr=0.1)
    with (
        HostBackend() as backend,
        Engine(model, plan, FP32, objective, backend=backend, optimizer=optimizer) as engine,
    ):
        found = engine.device_bytes
    assert found == sum(predicted.get(name, 0) for name in names)
