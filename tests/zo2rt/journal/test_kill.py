"""A run that is killed again and again ends with the bits of a run that never was."""

from pathlib import Path
from random import Random
from threading import Event

import pytest

from tests.thorough import THOROUGH
from tests.zo2rt.journal import kill_server, toy_run
from tests.zo2rt.journal.kill_server import killed_after_operations, killed_after_time
from tests.zo2rt.journal.lossy_disk import LossyDisk
from zo2rt.journal import read
from zo2rt.journal.durable import Disk, FileSystem

STEPS, KILLS = (150, 30) if THOROUGH else (40, 8)
SAVE_EVERY = 10


def train(fs: FileSystem, folder: Path) -> None:
    """What is killed; the engine's own training takes its place the same way."""
    toy_run.run(fs, folder, STEPS, save_every=SAVE_EVERY)


def state(fs: FileSystem, folder: Path) -> tuple[int, str, dict[str, bytes]]:
    """Where the journal stands, its digest over every record, and the weights."""
    resumed, weights = toy_run.resumed(fs, folder)
    position = resumed.journal.position
    return position.step, position.sha256, toy_run.bits(weights)


def undisturbed() -> tuple[int, str, dict[str, bytes]]:
    """The state of a run that nobody kills."""
    fs, folder = LossyDisk(), Path("/run")
    train(fs, folder)
    return state(fs, folder)


def test_a_run_killed_at_random_points_ends_with_the_same_bits(tmp_path: Path):
    random, kills, last = Random(0), 0, 0
    folder = tmp_path / "killed"
    while killed_after_operations(train, folder, random.randrange(50)):
        kills += 1
        last = progress(folder, last)
    assert kills >= KILLS
    assert state(Disk(), folder) == undisturbed()


def test_a_run_killed_at_random_times_ends_with_the_same_bits(tmp_path: Path):
    random, folder = Random(1), tmp_path / "killed"
    seconds = 0.02
    while killed_after_time(train, folder, random.uniform(0.5, 1) * seconds):
        seconds *= 1.2  # so that a slow machine gets to the end too
    assert state(Disk(), folder) == undisturbed()


def stand_still(fs: FileSystem, folder: Path) -> None:
    """A workload that waits for what never comes."""
    Event().wait()


def test_a_workload_that_stands_still_is_no_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kill_server, "_STILL_S", 0.1)
    with pytest.raises(RuntimeError, match=r"must go on; it took no CPU time"):
        killed_after_operations(stand_still, tmp_path, 1)


def progress(folder: Path, last: int) -> int:
    """How far the journal reaches: never less than before."""
    path = folder / "journal.jsonl"
    now = read(Disk(), path).position.step if path.exists() else 0
    assert now >= last
    return now
