"""What cannot fit is refused before anything is allocated, with what is missing and by how much."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.families import batch, build
from tests.zo2rt.backends.fake_accelerator import FakeAccelerator
from tests.zo2rt.engine.engine_runs import OPTIMIZER, recipe
from zo2rt.backends import Backend, CudaBackend, HostBackend
from zo2rt.engine.engine import DoesNotFit, Engine, Objective, Room
from zo2rt.memory import room
from zo2rt.memory.demand import at_a_snapshot, demand
from zo2rt.memory.room import check_room
from zo2rt.model.discovery import find_blocks
from zo2rt.model.loss import model_loss
from zo2rt.model.units import find_units
from zo2rt.weights.formats import Formats
from zo2sim.dtypes import Dtype
from zo2sim.memory.account import Item, MemoryAccount, MemoryPlace
from zo2sim.memory.runtime import ARENA, AT_A_SNAPSHOT, account
from zo2sim.models.config import from_config
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.policies import Layout, Shape

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
NARROW = replace(recipe(), wire_dtype=Dtype.FP8)
CASES: dict[str, tuple[Plan, Recipe]] = {
    "zo2": (Plan(num_slots=3, scratch_copies=2, resident_blocks=1), recipe()),
    "resident": (Plan(policy=Policy.RESIDENT), recipe()),
    "narrow wire": (Plan(policy=Policy.HOST_UPDATE), NARROW),
    "in place": (Plan(), recipe(perturbation="in_place")),
    "nvme": (Plan(tier="nvme"), recipe()),
}


def needs(**num_bytes: int) -> MemoryAccount:
    return MemoryAccount(
        title="it",
        items=tuple(
            Item(
                place=MemoryPlace(place), name=f"what the {place} holds", num_bytes=n, cause="test"
            )
            for place, n in num_bytes.items()
        ),
    )


def demand_of(model: nn.Module, plan: Plan, how: Recipe) -> MemoryAccount:
    blocks = find_blocks(model)
    units = find_units(model, model_loss, batch("opt"), blocks=blocks)
    shape = Shape(num_blocks=units.num_blocks, tied=units.tied)
    return demand(Formats(units, Layout(shape=shape, plan=plan, recipe=how)))


def make(model: nn.Module, backend: Backend, plan: Plan | None = None, **how: Any) -> Engine:
    objective = Objective(example=batch("opt"))
    plan = Plan() if plan is None else plan
    return Engine(model, plan, recipe(), objective, backend=backend, optimizer=OPTIMIZER, **how)


def allocated(backend: Backend) -> tuple[int, int, int]:
    figures = backend.memory()
    return figures.device_bytes, figures.pinned_bytes, figures.pageable_bytes


# What is needed


@pytest.mark.parametrize("name", CASES)
def test_the_demand_is_what_is_then_allocated(name: str, tmp_path: Path):
    plan, how = CASES[name]
    folder = tmp_path if plan.tier == "nvme" else None
    model, objective = build("opt"), Objective(example=batch("opt"))
    needed = demand_of(model, plan, how)
    with (
        HostBackend() as backend,
        Engine(model, plan, how, objective, backend=backend, optimizer=OPTIMIZER, folder=folder),
    ):
        assert allocated(backend) == (needed.device_bytes, needed.host_bytes, 0)


@pytest.mark.parametrize("name", CASES)
def test_the_demand_is_the_account_s(name: str):
    model: Any = build("opt")
    predicted = account(from_config(model.config.to_dict(), name="opt"), *CASES[name])
    items = predicted.itemised(MemoryPlace.DEVICE)
    want = {name: items[name] for name in ARENA if name in items}
    assert demand_of(model, *CASES[name]).itemised(MemoryPlace.DEVICE) == want


# What there is


def test_what_fits_exactly_fits():
    Room(host_bytes=7, device_bytes=5).check(needs(host=7, device=5), GPU)
    with pytest.raises(DoesNotFit, match="5 B on the device"):
        Room(host_bytes=7, device_bytes=4).check(needs(host=7, device=5), GPU)
    with pytest.raises(DoesNotFit, match="7 B on the host"):
        Room(host_bytes=6, device_bytes=5).check(needs(host=7, device=5), GPU)


def test_where_the_device_is_the_host_both_needs_add_up():
    Room(host_bytes=12).check(needs(host=7, device=5), CPU)
    with pytest.raises(DoesNotFit, match="12 B on the host"):
        Room(host_bytes=11).check(needs(host=7, device=5), CPU)


def test_a_bound_that_nobody_knows_refuses_nothing():
    Room().check(needs(host=1 << 60, device=1 << 60), GPU)


def test_the_refusal_says_for_what_and_how_much_is_missing():
    with pytest.raises(DoesNotFit) as caught:
        Room(device_bytes=2 << 30).check(needs(device=3 << 30), GPU)
    assert str(caught.value) == (
        "it needs 3.00 GiB on the device, mostly for what the device holds (3.00 GiB), and "
        "2.00 GiB are free for it: 1.00 GiB are missing; try fewer slots, resident blocks or "
        "scratch copies, or a smaller batch"
    )


def test_what_the_machine_has_free_is_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "free_host_bytes", lambda: 100)
    with HostBackend() as backend:
        check_room(needs(host=40, device=60), backend)
        with pytest.raises(DoesNotFit, match="1 B are missing"):
            check_room(needs(host=41, device=60), backend)


def test_what_the_model_gives_back_counts_as_free(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "free_host_bytes", lambda: 100)
    weights = [torch.empty(50, dtype=torch.uint8)]
    with HostBackend() as backend:
        check_room(needs(host=150), backend, weights=weights)
        with pytest.raises(DoesNotFit, match="1 B are missing"):
            check_room(needs(host=151), backend, weights=weights)


def test_the_host_has_what_the_machine_and_its_groups_leave(monkeypatch: pytest.MonkeyPatch):
    for left, want in ((None, room.psutil.virtual_memory().total), (5, 5)):
        monkeypatch.setattr(room.cgroup, "free_bytes", lambda left=left: left)
        assert 0 < room.free_host_bytes() <= want


# Who refuses


def test_an_engine_refuses_and_leaves_everything_as_it_was(tmp_path: Path):
    model = build("opt")
    before = {name: p.data_ptr() for name, p in model.named_parameters()}
    needed = demand_of(model, Plan(), recipe()).device_bytes
    with HostBackend() as backend:
        with pytest.raises(
            DoesNotFit, match=r"policy=zo2, activations apart, needs .* 1 B are missing"
        ):
            make(model, backend, folder=tmp_path / "run", limit=Room(device_bytes=needed - 1))
        assert allocated(backend) == (0, 0, 0)
        assert {name: p.data_ptr() for name, p in model.named_parameters()} == before
        assert [*tmp_path.iterdir()] == []


def test_an_engine_takes_all_that_there_is():
    model = build("opt")
    needed = demand_of(model, Plan(), recipe())
    limit = Room(
        host_bytes=needed.device_bytes + needed.host_bytes, device_bytes=needed.device_bytes
    )
    with HostBackend() as backend, make(model, backend, limit=limit) as engine:
        assert engine.device_bytes == needed.device_bytes


def test_an_engine_asks_the_machine(monkeypatch: pytest.MonkeyPatch):
    """The weights are there already, and give back what they take; slots and scratch are new."""
    model = build("opt")
    weights = sum(p.untyped_storage().nbytes() for p in model.parameters())
    needed = demand_of(model, Plan(), recipe()).on_one_memory.host_bytes
    monkeypatch.setattr(room, "free_host_bytes", lambda: needed - weights - 1)
    with (
        HostBackend() as backend,
        pytest.raises(DoesNotFit, match=r"on the host.* 1 B are missing"),
    ):
        make(model, backend)
    monkeypatch.setattr(room, "free_host_bytes", lambda: needed - weights)
    with HostBackend() as backend, make(model, backend):
        pass


def test_a_run_with_snapshots_needs_room_for_what_is_read_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Of this one all weights are one file; it is refused now, and not when it has trained."""
    model = build("opt")
    weights = sum(p.untyped_storage().nbytes() for p in model.parameters())
    needed = demand_of(model, Plan(), recipe()).on_one_memory.host_bytes - weights
    file = 4 * sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(room, "free_host_bytes", lambda: needed + file - 1)
    with (
        HostBackend() as backend,
        pytest.raises(DoesNotFit, match=r"at a snapshot or save \(.* 1 B are missing"),
    ):
        make(model, backend, folder=tmp_path)
    assert [*tmp_path.iterdir()] == []
    monkeypatch.setattr(room, "free_host_bytes", lambda: needed + file)
    with HostBackend() as backend, make(model, backend, folder=tmp_path):
        pass


def test_the_room_at_a_snapshot_is_the_account_s():
    model: Any = build("opt")
    predicted = account(from_config(model.config.to_dict(), name="opt"), Plan(), recipe())
    units = find_units(model, model_loss, batch("opt"))
    (wanted,) = (i for i in predicted.items if i.name == AT_A_SNAPSHOT)
    assert at_a_snapshot(units).num_bytes == wanted.num_bytes


def test_an_engine_asks_the_device(monkeypatch: pytest.MonkeyPatch):
    fake = FakeAccelerator().install(monkeypatch)
    model = build("opt")
    fake.free_bytes = demand_of(model, Plan(), recipe()).device_bytes - 1
    with CudaBackend() as backend:
        with pytest.raises(DoesNotFit, match=r"on the device.* 1 B are missing"):
            make(model, backend)
        assert fake.calls("empty") == []
        fake.free_bytes += 1
        make(model, backend).close()
