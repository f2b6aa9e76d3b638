"""Blocks on NVMe: the same bits as in memory, and two whole versions on disk."""

from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.families import BLOCKS, batch, build
from tests.thorough import crossed
from tests.zo2rt.engine.engine_runs import NUM_STEPS, engine, losses_of, recipe, resident
from zo2rt.backends import HostBackend, VirtualBackend
from zo2rt.weights.block_store import BlockStore
from zo2sim.plan.choices import Plan, Policy

PLANS = (
    Plan(tier="nvme"),
    Plan(tier="nvme", num_slots=1, write_back_every=2),
    Plan(tier="nvme", num_slots=4, resident_blocks=1),
    Plan(tier="nvme", policy=Policy.DUAL),
)


@pytest.mark.parametrize(
    ("plan", "backend"), crossed(PLANS, [HostBackend, VirtualBackend]), ids=str
)
def test_blocks_on_nvme_have_the_bits_of_resident(
    plan: Plan, backend: type[HostBackend] | type[VirtualBackend], tmp_path: Path
):
    want = resident("llama", recipe())
    model, data = build("llama"), batch("llama", rows=2)
    with engine(model, plan, recipe(), data, backend, folder=tmp_path) as trained:
        losses = losses_of(trained, (batch("llama", seed=s, rows=2) for s in range(NUM_STEPS)))
        assert trained.evaluate(batch("llama", seed=0, rows=2)) == want.evaluation
        assert trained.divergence is None
        streamed = next(u for u in trained.units.order if u.number >= 0)
        assert all(p.tensor.numel() == 0 for p in streamed.parameters), "not in host memory"
        trained.save(tmp_path / "saved")
    assert losses == want.losses
    assert all(torch.equal(v, want.weights[k]) for k, v in model.state_dict().items())
    assert not (tmp_path / "nvme" / "blocks.bin").exists()
    again = type(model).from_pretrained(tmp_path / "saved")  # type: ignore[attr-defined]
    assert all(torch.equal(v, want.weights[k]) for k, v in again.state_dict().items())


def test_a_write_leaves_the_version_before_it_whole(tmp_path: Path):
    with closing(BlockStore(tmp_path / "blocks.bin", {0: 5000, 3: 100})) as store:
        first, second = (torch.full((5000,), value, dtype=torch.uint8) for value in (1, 2))
        store.write(0, first, 0)
        before = (tmp_path / "blocks.bin").read_bytes()
        store.write(0, second, 7)
        after = (tmp_path / "blocks.bin").read_bytes()
        assert bytes(first.numpy()) in before
        assert bytes(first.numpy()) in after
        target = torch.zeros(5000, dtype=torch.uint8)
        store.read(0, target, 7)
        assert torch.equal(target, second)
        with pytest.raises(RuntimeError, match="block 0 must be version 8; it says 'unit 0"):
            store.read(0, target, 8)


@pytest.mark.parametrize(
    ("every", "written"), [(1, [[0, 0, 1, 2, 3]]), (2, [[0, 0, 2, 3], [0, 1, 3]])]
)
def test_a_block_s_version_is_how_many_steps_it_has(
    every: int, written: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As it is stored, after each step that writes it back, and in the end; and as it is read."""
    told: list[tuple[str, int, int]] = []

    def telling(name: str) -> Callable[..., None]:
        does = getattr(BlockStore, name)

        def told_of(store: BlockStore, unit: int, block: Tensor, version: int) -> None:
            told.append((name, unit, version))
            does(store, unit, block, version)

        return told_of

    for name in ("read", "write"):
        monkeypatch.setattr(BlockStore, name, telling(name))
    plan = Plan(tier="nvme", write_back_every=every)
    with engine(build("opt"), plan, recipe(), batch("opt"), folder=tmp_path) as trained:
        losses_of(trained, [batch("opt")] * 3)
        trained.flush()
    for unit in range(BLOCKS):
        mine = [(name, version) for name, number, version in told if number == unit]
        assert [version for name, version in mine if name == "write"] == written[unit % every]
        for before, (name, version) in pairwise(mine):
            assert name == "write" or version == before[1], "another than the latest write's"


def test_a_run_needs_a_place_for_its_blocks():
    with (
        pytest.raises(ValueError, match="tier=nvme needs a folder"),
        engine(build("opt"), Plan(tier="nvme"), recipe(), batch("opt")),
    ):
        pass


def test_a_link_that_lies_in_the_place_of_the_blocks_is_replaced_and_not_followed(tmp_path: Path):
    path, mine, absent = (tmp_path / name for name in ("blocks.bin", "mine.txt", "absent.txt"))
    mine.write_text("mine")
    for target in (mine, absent):
        path.symlink_to(target)
        with closing(BlockStore(path, {0: 100})) as store:
            store.write(0, torch.zeros(100, dtype=torch.uint8), 0)
            assert not path.is_symlink()
        assert not path.exists()
    assert mine.read_text() == "mine"
    assert not absent.exists()


def test_a_link_that_somebody_plants_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "blocks.bin").symlink_to(tmp_path / "absent.txt")
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(FileExistsError):
        BlockStore(tmp_path / "blocks.bin", {0: 100})
    assert not (tmp_path / "absent.txt").exists()
