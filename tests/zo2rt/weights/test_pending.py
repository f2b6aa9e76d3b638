"""Who reads a parameter between two steps reads the step's weights; who does not, pays nothing."""

import pickle
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from io import BytesIO
from typing import Any

import pytest
import torch
from torch import nn

from tests.families import batch, build
from tests.thorough import crossed
from tests.zo2rt.engine.engine_runs import engine, recipe
from zo2rt.backends import HostBackend, VirtualBackend
from zo2rt.engine.engine import Engine
from zo2sim.plan.choices import Plan, Policy

NAME = "model.decoder.layers.1.fc1.weight"
READS: dict[str, Callable[[nn.Module], Any]] = {
    "state_dict": lambda model: model.state_dict()[NAME],
    "data": lambda model: model.get_parameter(NAME).data,
    "detach": lambda model: model.get_parameter(NAME).detach(),
    "arithmetic": lambda model: 1.0 * model.get_parameter(NAME),
    "one of several": lambda model: torch.stack((model.get_parameter(NAME),))[0],
    "numpy": lambda model: torch.from_numpy(model.get_parameter(NAME).detach().numpy()),
    "norm": lambda model: torch.linalg.vector_norm(model.get_parameter(NAME)),
    "deepcopy": lambda model: deepcopy(model).get_parameter(NAME),
    "pickle": lambda model: pickle.loads(pickle.dumps(model.get_parameter(NAME))),
    "torch.save": lambda model: _saved(model.state_dict())[NAME],
    "forward": lambda model: model(**batch("opt")).loss,
    "in place": lambda model: model.get_parameter(NAME).data.mul_(1.0),
}


def _saved(weights: dict[str, Any]) -> dict[str, Any]:
    """And loaded again."""
    file = BytesIO()
    torch.save(weights, file)
    file.seek(0)
    return torch.load(file)


def trained(model: nn.Module, steps: int, plan: Plan, look: Callable[[], Any], at: int = 0) -> Any:
    """What ``look`` sees after step ``at``; the model is left trained."""
    seen: Any = None
    with engine(model, plan, recipe(), batch("opt")) as running, torch.no_grad():
        for number in range(1, steps + 1):
            running.step(batch("opt", seed=number))
            if number == at:
                seen = look().clone()
    return seen


@cache
def resident(steps: int) -> nn.Module:
    """A model after so many steps, which nobody changes."""
    model = build("opt")
    trained(model, steps, Plan(policy=Policy.RESIDENT), lambda: None)
    return model


@pytest.mark.parametrize(
    ("read", "plan"), crossed([*READS], [Plan(write_back_every=4), Plan()]), ids=str
)
def test_a_reader_sees_the_step_that_was_made(read: str, plan: Plan):
    model = build("opt")
    seen = trained(model, 3, plan, lambda: READS[read](model), at=2)
    with torch.no_grad():
        assert torch.equal(seen, READS[read](resident(2)))
    wanted = resident(3).state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in model.state_dict().items())


def test_what_reads_no_weight_applies_nothing(monkeypatch: pytest.MonkeyPatch):
    model, flushes = build("opt"), counted(monkeypatch)
    with engine(model, Plan(), recipe(), batch("opt")) as running:
        running.step(batch("opt"))
        model.zero_grad()
        parameters = [*model.parameters()]
        assert all(p.requires_grad and p.grad is None and p.is_leaf for p in parameters)
        assert sum(p.numel() for p in parameters) == sum(p.shape.numel() for p in parameters)
        assert {p.dtype for p in parameters} == {torch.float32}
        assert isinstance(parameters[0], nn.Parameter)
        assert len({*parameters}) == len(parameters)
        running.step(batch("opt"))
        assert flushes == []
        parameters[0].sum()
        assert flushes == [2]
        parameters[1].sum()
        assert flushes == [2]


@pytest.mark.parametrize("backend", [HostBackend, VirtualBackend])
def test_a_reader_may_be_in_another_mode(backend: Any):
    model, twin = build("opt"), build("opt")
    for one in (model, twin):
        with engine(one, Plan(write_back_every=2), recipe(), batch("opt"), backend) as running:
            for number in range(3):
                running.step(batch("opt", seed=number))
                if one is model:
                    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
                        model.get_parameter(NAME).sum()
    assert all(torch.equal(v, twin.state_dict()[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("error", [False, True])
def test_afterwards_parameters_are_of_their_own_class(error: bool):
    model = build("opt")
    try:
        with engine(model, Plan(), recipe(), batch("opt")) as running:
            running.step(batch("opt"))
            if error:
                raise InterruptedError
    except InterruptedError:
        pass
    assert {type(p) for p in model.parameters()} == {nn.Parameter}


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """At which step something was flushed."""
    flushes: list[int] = []
    flush = Engine.flush

    def counting(self: Engine) -> None:
        flushes.append(self.num_steps)
        flush(self)

    monkeypatch.setattr(Engine, "flush", counting)
    return flushes
