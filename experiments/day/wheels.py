"""Packages from a folder of wheels, for a machine without a network; standard library only."""

import atexit
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

NEEDED = (
    *("numpy", "scipy", "pandas", "pyarrow", "matplotlib", "tyro", "rich"),
    *("torch", "transformers", "numba", "safetensors", "psutil"),
)
"""Modules that a card's day imports."""


def missing() -> list[str]:
    """Those of them that cannot be imported."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def add_wheels(wheels: Path) -> None:
    """Unpack the wheels that fit this interpreter and are not installed, and put them last on the
    path of this process and of those that it starts, until it ends.

    What is installed comes first. Raises ``ValueError`` where the folder holds no wheel.
    """
    found = sorted(wheels.glob("*.whl"))
    if not found:
        raise ValueError(f"--wheels must be a folder that holds *.whl files; got {wheels}")
    target = Path(tempfile.mkdtemp(prefix="wheels-"))
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    for wheel in found:
        if _fits(wheel.name) and not _is_installed(wheel.name.partition("-")[0]):
            _unpack(wheel, target)
    sys.path.append(str(target))
    paths = (os.environ.get("PYTHONPATH"), str(target))
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    importlib.invalidate_caches()


def _unpack(wheel: Path, target: Path) -> None:
    """What a wheel keeps apart for the library's folder (NAME.data/purelib) joins the rest."""
    with zipfile.ZipFile(wheel) as content:
        for entry in content.infolist():
            data, _, rest = entry.filename.partition(".data/")
            scheme, _, below = rest.partition("/")
            if rest and "/" not in data:
                if scheme not in ("purelib", "platlib") or not below:
                    continue
                entry.filename = below
            content.extract(entry, target)


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _fits(name: str) -> bool:
    """By the tags in a wheel's name: NAME-VERSION(-BUILD)-PYTHON-ABI-PLATFORM.whl."""
    python, abi, where = name.removesuffix(".whl").split("-")[-3:]
    if where != "any" and not _runs_here(where):
        return False
    if abi == "abi3":
        return any(made <= sys.version_info[:2] for made in _versions(python))
    own = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return own in python.split(".") or (abi == "none" and "py3" in python.split("."))


def _versions(python: str) -> Iterator[tuple[int, int]]:
    for tag in python.split("."):
        if tag.startswith("cp3"):
            yield 3, int(tag[3:])


def _runs_here(where: str) -> bool:
    system = {"Linux": "linux", "Darwin": "macosx", "Windows": "win"}[platform.system()]
    return any(
        system in tag and tag.endswith(platform.machine().lower()) for tag in where.split(".")
    )
