"""One writer per folder: a second one is refused, and a killed one is in nobody's way."""

import subprocess
import sys
from pathlib import Path

import pytest

from zo2rt.lock import one_writer

_HOLD = """
import sys, time
from pathlib import Path
from zo2rt.lock import one_writer
with one_writer(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """A process that is in the folder until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path):
    with holder(tmp_path) as first:
        with pytest.raises(BlockingIOError, match="one writer at a time"), one_writer(tmp_path):
            pass
        first.communicate("")
    with one_writer(tmp_path):
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path):
    with holder(tmp_path) as first:
        first.kill()
        first.wait()
        assert (tmp_path / ".lock").exists()
        with one_writer(tmp_path):
            pass


def test_the_same_process_is_a_second_one_too(tmp_path: Path):
    with (
        one_writer(tmp_path),
        pytest.raises(BlockingIOError, match="another process is at work there"),
        one_writer(tmp_path),
    ):
        pass


def test_nothing_is_left_of_it(tmp_path: Path):
    with one_writer(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    with one_writer(tmp_path):
        pass
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_holds_something_stays(tmp_path: Path):
    with one_writer(tmp_path / "new"):
        (tmp_path / "new" / "file").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path):
    (tmp_path / ".lock").symlink_to(tmp_path / "absent.txt")
    with pytest.raises(OSError, match="symbolic links"), one_writer(tmp_path):
        pass
    assert not (tmp_path / "absent.txt").exists()
