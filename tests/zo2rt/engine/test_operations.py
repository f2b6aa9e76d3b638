"""What operations do to real tensors: every kind of buffer, against a run that needs none."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.families import BLOCKS, batch, build
from tests.zo2rt.engine.engine_runs import engine, recipe
from zo2rt.backends import VirtualBackend
from zo2rt.backends.base import Touched, Work
from zo2rt.backends.tracks import Where
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.schedule.ops import Buffer, BufferSpace, Kind

NARROW = Recipe(storage_dtype=Dtype.FP32, wire_dtype=Dtype.FP8, compute_dtype=Dtype.FP32)
CASES = {
    "nvme": (Plan(tier="nvme", num_slots=2), recipe()),
    "nvme, one slot, replayed": (Plan(tier="nvme", num_slots=1, write_back_every=2), recipe()),
    "host update of a narrow wire": (Plan(policy=Policy.HOST_UPDATE), NARROW),
    "samples and microbatches": (Plan(), recipe(samples=2, microbatches=2)),
}


def ran(plan: Plan, how: Recipe, folder: Path) -> tuple[list[Any], float, dict[str, torch.Tensor]]:
    """Losses and gradients of three steps, an evaluation, and the weights."""
    model, seen = build("opt"), []
    data = [batch("opt", seed=seed, rows=2 * how.microbatches) for seed in range(3)]
    with engine(
        model, plan, how, data[0], lambda: VirtualBackend(seed=5), folder=folder
    ) as trained:
        for one in data:
            trained.step(one)
            record = trained.record
            seen.append((record.losses, record.draws, record.step))
        evaluation = trained.evaluate(data[0])
    return seen, evaluation, dict(model.state_dict())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_buffer_gives_the_bits_of_none(case: tuple[Plan, Recipe], tmp_path: Path):
    plan, how = case
    seen, evaluation, weights = ran(plan, how, tmp_path / "streamed")
    want = ran(Plan(policy=Policy.RESIDENT), how, tmp_path / "resident")
    assert (seen, evaluation) == want[:2]
    assert all(torch.equal(weights[name], tensor) for name, tensor in want[2].items())
    count = 2 * how.samples * how.microbatches
    assert [len(losses) for losses, _, _ in seen] == [count] * 3
    assert [step for _, _, step in seen] == [0, 1, 2]


class Told(VirtualBackend):
    """Keeps what each operation says that it touches, and of how many tensors it does both."""

    def __init__(self, *, devices: int) -> None:
        super().__init__(devices=devices)
        self.reads: dict[str, list[Buffer]] = {}
        self.writes: dict[str, list[Buffer]] = {}
        self.changed: dict[str, int] = {}
        self._running = ""

    def launch(self, track: Where, work: Work, *, label: str) -> None:
        def named() -> None:
            self._running = label
            self.reads[label], self.writes[label], self.changed[label] = [], [], 0
            work()

        super().launch(track, named, label=label)

    def touch(self, *, reads: tuple[Touched, ...] = (), writes: tuple[Touched, ...] = ()) -> None:
        self.reads[self._running] += (one for one in reads if isinstance(one, Buffer))
        self.writes[self._running] += (one for one in writes if isinstance(one, Buffer))
        tensors = [one.data_ptr() for one in writes if isinstance(one, Tensor)]
        both = {one.data_ptr() for one in reads if isinstance(one, Tensor)} & {*tensors}
        self.changed[self._running] += len(both)


@pytest.mark.parametrize(
    "plan", [Plan(tier="nvme"), Plan(policy=Policy.HOST_UPDATE), Plan(devices=2)], ids=str
)
def test_operations_say_what_they_touch(plan: Plan, tmp_path: Path):
    """A detector of races sees no others; records are told by their steps."""
    backend, data = Told(devices=plan.devices), batch("opt")
    model = build("opt")
    names = [name for name, _ in model.named_parameters()]
    own = [sum(f".layers.{block}." in name for name in names) for block in range(BLOCKS)]
    with engine(model, plan, recipe(), data, lambda: backend, folder=tmp_path) as trained:
        for _ in range(3):
            trained.step(data)
        backend.synchronize()
        program = trained.program

    def spaces(touched: Iterable[Buffer]) -> list[BufferSpace]:
        told = (BufferSpace.RECORD, BufferSpace.NVME, BufferSpace.ACTIVATIONS)
        return sorted(one.space for one in touched if one.space in told)

    for op in program.period.ops:
        assert spaces(backend.reads[op.name]) == spaces(op.reads), op.name
        assert spaces(backend.writes[op.name]) == spaces(op.writes), op.name
        if op.unit is not None and op.unit >= 0 and op.kind in (Kind.UPDATE, Kind.HOST_UPDATE):
            assert backend.changed[op.name] == own[op.unit], op.name


def test_every_record_is_journalled_in_its_step(tmp_path: Path):
    data = batch("opt")
    with engine(build("opt"), Plan(), recipe(), data, folder=tmp_path) as trained:
        for _ in range(3):
            trained.step(data)
        kept = trained.record
    with engine(build("opt"), Plan(), recipe(), data, folder=tmp_path) as again:
        assert again.num_steps == 3
    assert (kept.step, len(kept.draws)) == (2, 1)
