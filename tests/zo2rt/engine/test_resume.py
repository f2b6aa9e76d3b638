"""A run that stops, however it stops, goes on with the bits of one that never did."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.families import batch, build
from tests.thorough import THOROUGH
from tests.zo2rt.engine.engine_runs import OPTIMIZER, engine, recipe
from tests.zo2rt.journal.kill_server import killed_after_operations, killed_after_time
from tests.zo2rt.journal.lossy_disk import LossyDisk
from zo2rt.backends import HostBackend, StreamFailed
from zo2rt.engine.engine import Engine, MezoSgd
from zo2rt.journal import DamageError, Group, read, shard
from zo2rt.journal.durable import Disk, FileSystem
from zo2rt.journal.replay import weights_at
from zo2rt.journal.run import ENCODING_VERSION, RunFolder, _encoding_table
from zo2rt.optimizer import Estimator
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe

STEPS, SAVE_EVERY = 8, 3
KILLED_STEPS = 100 if THOROUGH else 12
KILLS, MOST_KILLS = KILLED_STEPS // 4, 3 * KILLED_STEPS
PLAN, HOW = Plan(write_back_every=2), recipe(samples=2)
OTHER = replace(OPTIMIZER, seed=8)


@contextmanager
def opened(
    folder: Path | RunFolder | None, plan: Plan = PLAN, optimizer: MezoSgd = OPTIMIZER
) -> Iterator[tuple[nn.Module, Engine]]:
    model = build("opt")
    with engine(model, plan, HOW, batch("opt"), HostBackend, optimizer, folder) as trained:
        yield model, trained


def test_a_header_says_which_rates_its_groups_begin_with(tmp_path: Path):
    decaying = replace(OPTIMIZER, weight_decay=0.25)
    with opened(tmp_path / "run", optimizer=decaying):
        found = read(Disk(), tmp_path / "run" / "journal.jsonl").header
    assert found.groups == (
        Group(name="decayed", lr=OPTIMIZER.lr, weight_decay=0.25),
        Group(name="undecayed", lr=OPTIMIZER.lr, weight_decay=0.0),
    )


@pytest.mark.parametrize(("storage", "said"), [(Dtype.FP16, 0), (Dtype.INT4, 1)])
def test_a_header_says_which_encoder_integers_come_from(storage: Dtype, said: int):
    assert (
        _encoding_table(Recipe(storage_dtype=storage)).count(f"version = {ENCODING_VERSION}")
        == said
    )


def test_a_run_in_the_place_of_a_file_is_refused(tmp_path: Path):
    (tmp_path / "run").write_text("mine")
    with (
        pytest.raises(ValueError, match="must be a folder; it is a file"),
        opened(tmp_path / "run"),
    ):
        pass
    assert (tmp_path / "run").read_text() == "mine"


def go_on(trained: Engine, steps: int, save_every: int = SAVE_EVERY) -> None:
    """Step ``n`` reads batch ``n``, and the learning rate falls."""
    while trained.num_steps < steps:
        number = trained.num_steps
        trained.step(batch("opt", seed=number), lr=OPTIMIZER.lr / (1 + number))
        if trained.num_steps % save_every == 0:
            trained.snapshot()


def trained_weights(folder: Path | RunFolder, steps: int = STEPS) -> dict[str, Tensor]:
    with opened(folder) as (model, trained):
        go_on(trained, steps)
    return dict(model.state_dict())


def undisturbed(steps: int = STEPS) -> dict[str, Tensor]:
    """After so many steps of a run that nothing stops; nobody changes them."""
    return _after_each_step()[steps]


@cache
def _after_each_step() -> list[dict[str, Tensor]]:
    with opened(None) as (model, trained):
        found = [copied(model)]
        for steps in range(1, KILLED_STEPS + 1):
            go_on(trained, steps, KILLED_STEPS + 1)
            found.append(copied(model))
    return found


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run, which no test changes."""
    folder = tmp_path_factory.mktemp("finished")
    trained_weights(folder)
    return folder


def train(fs: FileSystem, folder: Path) -> None:
    """What is killed."""
    trained_weights(RunFolder(folder, fs), KILLED_STEPS)


def train_briefly(fs: FileSystem, folder: Path) -> None:
    trained_weights(RunFolder(folder, fs))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert [k for k, v in one.items() if not torch.equal(v, other[k])] == []


@pytest.mark.parametrize("stop", [1, 2, 3, 5] if THOROUGH else [1, 3, 5])
def test_a_run_goes_on_where_it_stopped(stop: int, tmp_path: Path):
    trained_weights(tmp_path, stop)
    with opened(tmp_path) as (model, trained):
        assert (trained.num_steps, trained.cursor) == (stop, stop)
        go_on(trained, STEPS)
    same(dict(model.state_dict()), undisturbed())


def test_a_run_s_folder_may_be_a_link_to_another_disk(tmp_path: Path):
    there, link = tmp_path / "there", tmp_path / "link"
    there.mkdir()
    link.symlink_to(there)
    trained_weights(link / "run", 2)
    (tmp_path / "of the run").symlink_to(there / "run")
    same(trained_weights(tmp_path / "of the run"), undisturbed())
    assert link.is_symlink()


@pytest.mark.parametrize("plan", [Plan(policy=Policy.HOST_UPDATE, num_slots=1), Plan(tier="nvme")])
def test_another_plan_may_go_on(plan: Plan, tmp_path: Path):
    trained_weights(tmp_path, 5)
    with opened(tmp_path, plan) as (model, trained):
        go_on(trained, STEPS)
    same(dict(model.state_dict()), undisturbed())


def test_a_run_killed_at_random_points_ends_with_the_same_bits(tmp_path: Path):
    random, kills, last = Random(0), 0, 0
    folder = tmp_path / "killed"
    while killed_after_operations(train, folder, random.randrange(30)):
        kills += 1
        assert kills < MOST_KILLS
        path = folder / "journal.jsonl"
        now = read(Disk(), path).position.step if path.exists() else 0
        assert now >= last, "what was durable is lost"
        last = now
    assert kills >= KILLS
    same(trained_weights(folder, KILLED_STEPS), undisturbed(KILLED_STEPS))


def test_a_run_killed_at_random_times_ends_with_the_same_bits(tmp_path: Path):
    random, folder, seconds = Random(1), tmp_path / "killed", 0.5
    while killed_after_time(train_briefly, folder, random.uniform(0.5, 1) * seconds):
        seconds *= 1.3  # so that a slow machine gets to the end too
    same(trained_weights(folder), undisturbed())


def test_writes_that_a_power_cut_loses_cost_steps_but_no_bits():
    disk, folder = LossyDisk(), Path("/run")
    trained_weights(RunFolder(folder, disk), 7)
    want, random = undisturbed(7), Random(2)
    for length in random.sample(range(len(disk.log)), 6 if THOROUGH else 3):
        crashed = next(iter(disk.after_crash(length)))
        same(trained_weights(RunFolder(folder, crashed), 7), want)


def test_what_a_run_reads_of_its_own_the_model_does_not_hold_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trained_weights(tmp_path)
    model, beside, read_file = build("opt"), list[int](), shard.Held.__init__

    def watched(*arguments: Any) -> None:
        beside.append(sum(p.untyped_storage().nbytes() for p in model.parameters()))
        read_file(*arguments)

    monkeypatch.setattr(shard.Held, "__init__", watched)
    with engine(model, Plan(), HOW, batch("opt"), HostBackend, OPTIMIZER, tmp_path) as trained:
        assert trained.num_steps == STEPS
    assert 0 < beside[0] < 4 * 4 * len([*model.parameters()])
    wanted = undisturbed()
    assert all(torch.equal(wanted[name], found) for name, found in model.state_dict().items())


@pytest.mark.parametrize("step", [0, 2, 3, 7, 8])
def test_any_step_can_be_rebuilt(step: int, finished: Path):
    found = weights_at(Disk(), finished, step)
    wanted = undisturbed(step)
    same(found, {name: wanted[name] for name in found})


def test_a_step_that_is_not_there_is_refused(tmp_path: Path):
    trained_weights(tmp_path, 3)
    with pytest.raises(ValueError, match=r"the journal reaches step 3; .*; got 4"):
        weights_at(Disk(), tmp_path, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.5}, r"groups\[0\].lr is 0.01 in the journal and 0.5 in this run"),
        ({"seed": 8}, "seed is 7 in the journal and 8 in this run"),
        ({"eps": 0.1}, "recipe is"),
        ({"estimator": Estimator(rule="sign")}, "recipe is"),
        ({"stochastic_rounding": True}, "stochastic_rounding is False in the journal"),
    ],
)
def test_another_optimizer_may_not_go_on(change: dict[str, Any], message: str, finished: Path):
    before = (finished / "journal.jsonl").read_bytes()
    with (
        pytest.raises(ValueError, match=message),
        opened(finished, optimizer=replace(OPTIMIZER, **change)),
    ):
        pass
    assert (finished / "journal.jsonl").read_bytes() == before


def test_a_flipped_byte_is_named_and_nothing_is_overwritten(tmp_path: Path):
    trained_weights(tmp_path, 2)
    path = tmp_path / "journal.jsonl"
    data = bytearray(path.read_bytes())
    data[data.index(b'"draws"') + 12] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamageError, match="the record of step"), opened(tmp_path):
        pass
    assert path.read_bytes() == data


def test_an_end_that_was_cut_off_is_told(tmp_path: Path):
    """A bit that breaks the last line's JSON looks like a write that was never finished."""
    trained_weights(tmp_path, 2)
    path = tmp_path / "journal.jsonl"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with opened(tmp_path) as (_, trained):
        assert trained.num_steps == 1
        (told,) = trained.damaged
    assert "were no whole record and were cut off" in told
    assert told.endswith("the run goes on from step 1")
    with opened(tmp_path) as (_, trained):
        assert trained.damaged == ()


def test_a_missing_shard_is_named(tmp_path: Path):
    trained_weights(tmp_path, 2)
    next(tmp_path.glob("snapshots/*/*.safetensors")).unlink()
    with pytest.raises(DamageError, match="must be there; it is missing"), opened(tmp_path):
        pass


def test_a_full_disk_stops_the_run_and_keeps_what_was_durable():
    disk, folder = LossyDisk(), Path("/run")
    trained_weights(RunFolder(folder, disk), 3)
    disk.fail_at = 2
    with pytest.raises(StreamFailed, match="was not written"):
        trained_weights(RunFolder(folder, disk))
    assert read(disk, folder / "journal.jsonl").position.step >= 3
    disk.fail_at = None
    same(trained_weights(RunFolder(folder, disk)), undisturbed())


def test_a_run_that_cannot_be_replayed_has_no_journal(tmp_path: Path):
    how = recipe(perturbation="in_place")
    with (
        pytest.raises(ValueError, match="needs perturbation=scratch"),
        engine(build("opt"), Plan(), how, batch("opt"), folder=tmp_path),
    ):
        pass


def test_a_folder_has_one_engine_at_a_time(tmp_path: Path):
    with (
        opened(tmp_path) as (_, trained),
        pytest.raises(BlockingIOError, match="one writer at a time"),
        opened(tmp_path),
    ):
        pass
    with pytest.raises(ValueError, match="seed is 7"), opened(tmp_path, optimizer=OTHER):
        pass
    with opened(tmp_path) as (_, trained):
        assert trained.num_steps == 0
