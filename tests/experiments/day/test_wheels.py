"""A machine with torch and without some packages: what is missing is said, and wheels bring it."""

import importlib.metadata
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from experiments.day import wheels
from tests import ROOT

ABSENT = ("tyro", "rich", "typst")
BROUGHT = ("tyro", "rich")
COMMAND = """
import runpy, sys
sys.path += sys.argv[1:3]
sys.argv[1:] = sys.argv[3:]
runpy.run_module("experiments.card", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder of packages that has all that is installed here but those."""
    folder = tmp_path / "site"
    folder.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        name = path.name.partition("-")[0].lower()
        if name not in ABSENT and path.suffix not in (".pth", ".virtualenv"):
            (folder / path.name).symlink_to(path)
    return folder


def command(bare: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In an interpreter that finds nothing else."""
    words = ["-I", "-S", "-c", COMMAND, str(bare), str(ROOT), *arguments]
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, timeout=120
    )


def wheel_of(name: str, folder: Path) -> None:
    """An installed package, packed again."""
    found = importlib.metadata.distribution(name)
    path = folder / f"{name}-{found.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        for file in found.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                packed.write(str(file.locate()), file.as_posix())


def test_what_is_missing_is_said_in_one_line(bare: Path):
    done = command(bare)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: the packages tyro, rich must be installed; or give a folder with their "
        "wheels: --wheels DIR"
    )
    assert done.stderr.count("\n") == 1


def test_wheels_bring_it_without_a_network(bare: Path, tmp_path: Path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in BROUGHT:
        wheel_of(name, folder)
    done = command(bare, "--wheels", str(folder), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_a_folder_without_wheels_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"--wheels must be a folder that holds \*.whl files; got"):
        wheels.add_wheels(tmp_path)


OWN = f"cp{sys.version_info.major}{sys.version_info.minor}"


@pytest.mark.parametrize(
    ("tags", "fits"),
    [
        ("py3-none-any", True),
        ("py2.py3-none-any", True),
        ("cp310-cp310-manylinux_2_17_x86_64.manylinux2014_x86_64", False),
        (f"{OWN}-{OWN}-manylinux_2_17_x86_64.manylinux2014_x86_64", True),
        ("cp38-abi3-manylinux_2_17_x86_64", True),
        ("cp399-abi3-manylinux_2_17_x86_64", False),
        (f"{OWN}-{OWN}-manylinux_2_17_aarch64", False),
        (f"{OWN}-{OWN}-win_amd64", False),
    ],
)
def test_a_wheel_fits_by_its_tags(tags: str, fits: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wheels.platform, "system", lambda: "Linux")
    monkeypatch.setattr(wheels.platform, "machine", lambda: "x86_64")
    assert wheels._fits(f"some_name-1.0-{tags}.whl") == fits


def test_the_entry_needs_nothing_but_the_standard_library():
    blocked = [*wheels.NEEDED, "psutil", "typst"]
    script = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import experiments.card"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)


def test_it_asks_for_all_that_it_imports():
    from experiments.folder.import_closure import ImportClosure

    foreign = ImportClosure.of("experiments.day.day", ROOT, deferred=False).foreign
    assert foreign - {"pynvml"} <= {*wheels.NEEDED}
