"""One front for every device: who is called for which weights, and what is refused."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.zo2rt.noise.noise_cases import KEY, update_of
from zo2rt.noise import Extent, perturb, perturb_pair, update

PLACE = Extent(p=3, first_element=5)


@pytest.fixture
def on_gpu() -> list[torch.Tensor]:
    """Three tensors that say they are on a GPU; no GPU is needed to make them."""
    with FakeTensorMode():
        return [torch.empty(4, device="cuda") for _ in range(3)]


def forget_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every later import of triton fails as if it were not installed."""
    monkeypatch.setitem(sys.modules, "triton", None)
    for name in ("zo2rt.noise.accelerator", "zo2rt.noise.triton_kernels"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_weights_of_an_accelerator_go_to_its_kernels(
    monkeypatch: pytest.MonkeyPatch, on_gpu: list[torch.Tensor]
) -> None:
    calls: list[tuple[Any, ...]] = []
    recorder = SimpleNamespace(
        operands=lambda *args: args,
        perturb=lambda *args, **kwargs: calls.append((*args, kwargs)),
        update=lambda *args, **kwargs: calls.append((*args, kwargs)),
    )
    monkeypatch.setitem(sys.modules, "zo2rt.noise.accelerator", recorder)
    plus, minus, theta = on_gpu
    noise: Any = {"key": KEY, "coefficient": 1e-3}
    updates, rounded = [update_of(0, 1)], {"stochastic_rounding": True}
    perturb(plus, theta, PLACE, kind="gaussian", **noise)
    perturb_pair(plus, minus, theta, PLACE, kind="gaussian", **noise)
    update(theta, PLACE, updates=updates, kind="gaussian", **rounded)
    *perturbations, (operands, arrays, known) = calls
    assert perturbations == [
        (((plus, theta), PLACE, "gaussian"), noise),
        (((plus, minus, theta), PLACE, "gaussian"), noise),
    ]
    assert operands == ((theta,), PLACE, "gaussian")
    assert arrays.ends.tolist() == [len(updates[0].draws)]
    assert known == rounded


def test_a_missing_triton_is_named_and_the_cpu_does_without(
    monkeypatch: pytest.MonkeyPatch, on_gpu: list[torch.Tensor]
) -> None:
    forget_triton(monkeypatch)
    update(torch.zeros(4), PLACE, updates=[update_of(0, 1)], kind="gaussian")
    with pytest.raises(RuntimeError, match="weights on cuda:0 needs the package 'triton'"):
        update(on_gpu[0], PLACE, updates=[update_of(0, 1)], kind="gaussian")


def test_weights_on_two_devices_are_refused(on_gpu: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="on one device; got cpu, cuda:0"):
        perturb(torch.zeros(4), on_gpu[0], PLACE, key=KEY, coefficient=1e-3, kind="gaussian")


def test_arrays_and_tensors_of_the_cpu_may_be_mixed() -> None:
    theta, out, expected = torch.ones(4), np.zeros(4, np.float32), torch.zeros(4)
    perturb(out, theta, PLACE, key=KEY, coefficient=1e-3, kind="gaussian")
    perturb(expected, theta, PLACE, key=KEY, coefficient=1e-3, kind="gaussian")
    assert out.tolist() == expected.tolist()
