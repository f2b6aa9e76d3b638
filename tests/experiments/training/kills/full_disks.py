"""Runs on a disk that is too small, which say so, and go on when there is room.

    python -m tests.experiments.training.kills.full_disks 40 1

The disk is one in memory of a random size, up to what a run needs; only the superuser may make it.
"""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from tests.experiments.training.kills.killed_runs import (
    CASES,
    WRITES,
    Death,
    Material,
    again,
    exit_code,
    left_in,
)

_AMPLE = "256m"


@dataclass(frozen=True)
class Full:
    """A disk with no room for the files of one name, below a folder, from the ``number``-th on."""

    name: str
    number: int = 0

    def await_in(self, folder: Path) -> None:
        left = self.number

        def refuse(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event != "open" or not isinstance(arguments[0], str) or not arguments[2] & WRITES:
                return
            path = arguments[0]
            if path.startswith(str(folder)) and f"/{path}".endswith(f"/{self.name}"):
                left -= 1
                if left < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        sys.addaudithook(refuse)


def refused_run(material: Material, case: str, place: Path, lacking: Sequence[Full]) -> None:
    """Run without room for one file after the other, then with it.

    Raises ``AssertionError`` as `full_run` does.
    """
    for number, full in enumerate(lacking):
        out, log = place / "run", place / f"{number}.log"
        code = exit_code(again(material, case, out), out, full)
        _check(code, out.with_suffix(".log").rename(log).read_text(), out)
    _goes_on(material, case, place / "run")


@contextmanager
def disk(folder: Path, num_bytes: int) -> Iterator[None]:
    """A file system of that size in ``folder``; ``OSError`` where nobody may make one."""
    folder.mkdir()
    if _mount("-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)):
        raise PermissionError(f"{folder}: nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _mount(*words: str) -> int:
    try:
        return subprocess.run(["mount", *words], capture_output=True).returncode
    except FileNotFoundError:
        return 1


def needed_bytes(material: Material, case: str) -> int:
    """What a whole run leaves in its folder."""
    material.undisturbed(case)
    whole = material.folder / f"whole {case}"
    return sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())


def full_run(material: Material, case: str, place: Path, num_bytes: int) -> str:
    """Run on a disk of that size, then with more room to the end; returns what was said first.

    Raises ``AssertionError`` where it is no line of error that names a file, or where the run then
    differs from one that always had room.
    """
    out = place / "disk" / "run"
    log = out.with_suffix(".log")
    with disk(place / "disk", num_bytes):
        log.symlink_to(place / "said.log")
        code = exit_code(again(material, case, out), out, Death())
        said = (place / "said.log").read_text()
        if code:
            _check(code, said, out)
            assert not _mount("-o", f"remount,size={_AMPLE}", str(place / "disk"))
        _goes_on(material, case, out)
    return said.strip().splitlines()[-1]


def _goes_on(material: Material, case: str, out: Path) -> None:
    code = exit_code(again(material, case, out), out, Death())
    assert code == 0, f"{case} does not go on: {out.with_suffix('.log').read_text()}"
    left = left_in(out)
    for what, wanted in material.undisturbed(case).left.items():
        assert left[what] == wanted, f"{case}: {what} is not that of a run that had room"


def _check(code: int | None, said: str, out: Path) -> None:
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert code == 1, f"exit code {code}:\n{said}"
    assert "Traceback" not in said, said
    assert len(errors) == 1, said
    assert str(out) in errors[0], said
    assert "No space left on device" in errors[0], said
    assert "make room" in errors[0], said


def main(count: int, seed: int) -> None:
    random = Random(seed)
    with TemporaryDirectory() as folder:
        material = Material(Path(folder))
        for number in range(count):
            case = [*CASES][number % len(CASES)]
            place = Path(folder, f"{number}")
            place.mkdir()
            num_bytes = random.randrange(1 << 16, needed_bytes(material, case))
            said = full_run(material, case, place, num_bytes)
            sys.stdout.write(f"{number + 1:3} {case}, {num_bytes} bytes: {said}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
