"""A lane runs as its caller would: modes, devices, streams, one at a time."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.zo2rt.lanes.lockstep import chain, mean_square, tokens, units_of
from zo2rt.lanes.traversal import Traversal


def seen_by(model: nn.Module, look: Callable[[], object]) -> list[object]:
    """What ``look`` says inside the forward, before and after a hand-over."""
    seen: list[object] = []

    def loss_fn(model: nn.Module, item: Tensor) -> Tensor:
        seen.append(look())
        loss = mean_square(model, item)
        seen.append(look())
        return loss

    units = units_of(model)
    with Traversal(model, units, loss_fn, [tokens()]) as traversal:
        for unit in units.order:
            traversal.advance(0, unit.number)
    return seen


def test_lanes_have_the_modes_of_the_thread_that_built_them():
    model = chain()
    look = (torch.is_grad_enabled, torch.is_inference_mode_enabled, torch.get_num_threads)
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            for function in look:
                assert seen_by(model, function) == [function()] * 2


def test_lanes_have_the_callers_autocast():
    def autocast() -> object:
        return torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    model = chain()
    assert seen_by(model, autocast) == [(False, torch.bfloat16)] * 2
    with torch.autocast("cpu", dtype=torch.float16), torch.no_grad():
        assert seen_by(model, autocast) == [(True, torch.float16)] * 2


def test_lanes_have_the_callers_default_device():
    model, item = chain(), tokens()
    units = units_of(model)
    devices: list[str] = []

    def loss_fn(model: nn.Module, item: Tensor) -> Tensor:
        loss = mean_square(model, item)
        devices.append(torch.zeros(1).device.type)
        return loss

    with torch.device("meta"), Traversal(model, units, loss_fn, [item]) as traversal:
        for unit in units.order:
            traversal.advance(0, unit.number)
    assert devices == ["meta"]


class Device:
    """Stands for PyTorch's view of an accelerator: a current stream per thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.here = threading.local()
        self.here.stream = 0
        fakes: dict[str, Any] = {
            "current_accelerator": lambda: torch.device("cuda"),
            "current_stream": self.stream,
            "set_stream": self.set_stream,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.accelerator, name, fake)
        monkeypatch.setattr(torch, "get_device_module", lambda _: self)

    def is_initialized(self) -> bool:
        return True

    def stream(self) -> int:
        return getattr(self.here, "stream", 0)

    def set_stream(self, stream: int) -> None:
        self.here.stream = stream


def test_lanes_issue_to_the_callers_current_stream(monkeypatch: pytest.MonkeyPatch):
    device, model, seen = Device(monkeypatch), chain(), list[int]()
    for step in model.steps:
        step.register_forward_pre_hook(lambda *_: seen.append(device.stream()))
    units = units_of(model)
    seen.clear()
    with Traversal(model, units, mean_square, [tokens()]) as traversal:
        for stream, unit in enumerate(units.order):
            device.set_stream(stream)
            traversal.advance(0, unit.number)
    assert seen == [1, 2, 3]


def test_a_default_dtype_stays_in_its_lane():
    def doubled(model: nn.Module, item: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        try:
            return mean_square(model, item) * torch.ones(()) * (torch.zeros(1).dtype.itemsize / 8)
        finally:
            torch.set_default_dtype(torch.float32)

    model = chain()
    units = units_of(model)
    with Traversal(model, units, doubled, [tokens(), tokens()]) as traversal:
        for unit in units.order:
            for lane in range(2):
                traversal.advance(lane, unit.number)
                assert torch.get_default_dtype() is torch.float32
        losses = traversal.losses().tolist()
    assert losses == [doubled(model, tokens()).item()] * 2


def test_no_lane_runs_but_the_one_that_a_caller_waits_for():
    running, most = [0], [0]

    model = chain()

    def count(*_: object) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])

    def uncount(*_: object) -> None:
        running[0] -= 1

    for step in model.steps:
        step.register_forward_pre_hook(count)
        step.register_forward_hook(uncount, prepend=True)
    units = units_of(model)
    with Traversal(model, units, mean_square, [tokens()] * 3) as traversal:
        for unit in units.order:
            for lane in range(3):
                caller = threading.Thread(target=traversal.advance, args=(lane, unit.number))
                caller.start()
                caller.join()
        assert len(set(traversal.losses().tolist())) == 1
    assert most == [1]
