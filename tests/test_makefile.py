"""What `make` installs: a sweep what it needs, the tests all, and nothing twice."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import ROOT

INSTALLS = (
    ".venv/bin/python -m pip install --quiet --no-compile --constraint constraints.txt --editable "
)


@pytest.mark.parametrize(
    ("there", "target", "installed"),
    [
        ((), "sweep", "'.[report]'"),
        ((), "test", "'.[all]'"),
        ((".installed",), "sweep", None),
        ((".reports",), "sweep", None),
        ((".reports",), "test", "'.[all]'"),
        ((".installed",), "test", None),
    ],
)
def test_a_target_installs_what_it_needs_once(
    there: tuple[str, ...], target: str, installed: str | None, tmp_path: Path
):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy2(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    for name in there:
        (tmp_path / ".venv" / name).touch()
    words = ["make", "--dry-run", "--directory", str(tmp_path), "--no-print-directory", target]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = [] if installed is None else [INSTALLS + installed]
    assert [line for line in lines if "pip install" in line] == expected


def test_what_a_process_compiles_the_next_one_finds():
    """Where it is not said that nothing may be left, as it often is in an image for containers."""
    told = "--eval=told: ; @echo [$$PYTHONDONTWRITEBYTECODE]"
    words = ["make", "--directory", str(ROOT), "--no-print-directory", told, "told"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    assert subprocess.check_output(words, env=environment, text=True) == "[]\n"
