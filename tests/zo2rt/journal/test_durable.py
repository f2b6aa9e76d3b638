"""Durability: after every crash, kill and full disk a run goes on to its own bits."""

import errno
import os
import stat
from functools import cache
from pathlib import Path

import pytest

from tests.zo2rt.journal import toy_run
from tests.zo2rt.journal.lossy_disk import LossyDisk
from zo2rt.journal import durable
from zo2rt.journal.durable import TEMPORARY, Disk

FOLDER = Path("/run")
STEPS = 5
SAVE_EVERY = 2


@cache
def expected(step: int) -> dict[str, bytes]:
    """The weights of an undisturbed run."""
    return toy_run.bits(toy_run.run(LossyDisk(), FOLDER, step, save_every=100))


def logged_run() -> tuple[LossyDisk, list[int]]:
    """A run, and for every length of its log how many steps had been acknowledged."""
    disk, acknowledged = LossyDisk(), [0]

    def done(step: int) -> None:
        acknowledged.extend([acknowledged[-1]] * (len(disk.log) + 1 - len(acknowledged)))
        acknowledged[-1] = step

    toy_run.run(disk, FOLDER, STEPS, save_every=SAVE_EVERY, done=done)
    done(STEPS)
    return disk, acknowledged


def assert_recovers(disk: LossyDisk, acknowledged: int) -> None:
    state, weights = toy_run.resumed(disk, FOLDER)
    step = state.journal.position.step
    assert acknowledged <= step <= acknowledged + 1
    assert toy_run.bits(weights) == expected(step)
    assert all("were cut off, as after a kill" in text for text in state.damaged)


def test_every_crash_recovers_to_a_prefix_with_all_that_was_acknowledged():
    disk, acknowledged = logged_run()
    count = 0
    for length, step in enumerate(acknowledged):
        for left in disk.after_crash(length):
            assert_recovers(left, step)
            count += 1
    assert count > 4 * len(acknowledged)


def test_a_run_goes_on_to_the_same_bits_after_any_crash():
    disk, _ = logged_run()
    for length in range(0, len(disk.log), 5):
        for left in disk.after_crash(length):
            weights = toy_run.run(left, FOLDER, STEPS, save_every=SAVE_EVERY)
            assert toy_run.bits(weights) == expected(STEPS)


def test_what_a_killed_process_left_is_made_durable_before_it_is_built_on():
    disk, acknowledged = logged_run()
    for length in range(len(disk.log)):
        after = disk.after_kill(length)
        state, _ = toy_run.resumed(after, FOLDER)
        for left in after.after_crash():
            assert_recovers(left, max(acknowledged[length], state.journal.position.step))


def test_a_run_that_was_killed_and_went_on_survives_a_power_cut():
    disk, _ = logged_run()
    for length in range(len(disk.log)):
        after = disk.after_kill(length)
        toy_run.run(after, FOLDER, STEPS, save_every=100)
        for left in after.after_crash():
            assert_recovers(left, STEPS)


def test_a_disk_that_fills_up_anywhere_leaves_what_was_acknowledged():
    failures = 0
    while (disk := LossyDisk(fail_at=failures)) and (step := steps_before_full(disk)) is not None:
        disk.fail_at = None
        assert not any(name.endswith(TEMPORARY) for name in all_names(disk, FOLDER))
        for left in disk.after_crash():
            assert_recovers(left, step)
        weights = toy_run.run(disk, FOLDER, STEPS, save_every=SAVE_EVERY)
        assert toy_run.bits(weights) == expected(STEPS)
        failures += 1
    assert failures > 50


def all_names(disk: LossyDisk, path: Path) -> list[str]:
    if not disk.is_folder(path):
        return [path.name]
    return [name for inner in disk.names(path) for name in all_names(disk, path / inner)]


def steps_before_full(disk: LossyDisk) -> int | None:
    """How many steps were acknowledged when the disk was full; None when it never was."""
    acknowledged = [0]
    try:
        toy_run.run(disk, FOLDER, STEPS, save_every=SAVE_EVERY, done=acknowledged.append)
    except OSError as error:
        return acknowledged[-1] if error.errno == errno.ENOSPC else None
    return None


def test_disk_appends_and_refuses_a_file_of_another_size(tmp_path: Path):
    path = tmp_path / "f"
    durable.write_new(Disk(), path, b"abc")
    durable.append(Disk(), path, b"de", at=3)
    assert path.read_bytes() == b"abcde"
    with pytest.raises(ValueError, match=r"must have the 3 bytes .* it has 5: a write failed"):
        durable.append(Disk(), path, b"f", at=3)


def test_a_file_is_whose_umask_it_was(tmp_path: Path):
    """Nobody else may write it who may not write the user's other files, and nobody runs it."""
    before = os.umask(0o022)
    try:
        durable.write_new(Disk(), tmp_path / "f", b"abc")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o644


def test_disk_settles_publishes_and_removes(tmp_path: Path):
    disk, path = Disk(), tmp_path / "a" / "b" / "f"
    durable.ensure_folder(disk, path.parent)
    durable.publish(disk, path, b"old")
    durable.publish(disk, path, b"new bytes")
    durable.settle(disk, path, num_bytes=3)
    assert disk.names(path.parent) == ("f",)
    assert disk.read(path) == b"new"
    durable.remove_tree(disk, tmp_path / "a")
    assert disk.names(tmp_path) == ()
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    for name in ("a", "nowhere"):
        with pytest.raises(ValueError, match="must be a folder; it is a file, or a link to noth"):
            durable.ensure_folder(disk, tmp_path / name)


def test_a_link_that_lies_where_a_temporary_file_goes_is_not_followed(tmp_path: Path):
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    (tmp_path / "f.tmp").symlink_to(theirs)
    durable.publish(Disk(), tmp_path / "f", b"mine")
    assert (theirs.read_bytes(), (tmp_path / "f").read_bytes()) == (b"theirs", b"mine")
    (tmp_path / "g").symlink_to(theirs)
    with pytest.raises(FileExistsError):
        durable.write_new(Disk(), tmp_path / "g", b"mine")


def test_disk_fsyncs_the_bytes_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[tuple[str, tuple[str, ...]]] = []

    def fsync(handle: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{handle}")).name
        synced.append((name, tuple(sorted(os.listdir(tmp_path)))))

    monkeypatch.setattr(os, "fsync", fsync)
    durable.publish(Disk(), tmp_path / "f", b"abc")
    durable.append(Disk(), tmp_path / "f", b"de", at=3)
    assert synced == [("f.tmp", ("f.tmp",)), (tmp_path.name, ("f",)), ("f", ("f",))]
