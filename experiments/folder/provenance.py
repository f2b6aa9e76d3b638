"""Where a number comes from: commit, code, versions, command."""

import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import zo2sim
from experiments.entry.arguments import typed_command
from experiments.folder.import_closure import ImportClosure

_ANSWERS = "experiments.jobs.job"


@cache
def code_version(module: str = _ANSWERS) -> str:
    """16 hexadecimal digits over the sources and data that the answers of a module depend on."""
    return version_in(Path(zo2sim.__file__).parent.parent, module)


def version_in(root: Path, module: str = _ANSWERS) -> str:
    """The code version of the checkout, or of the installed packages, in a folder.

    It covers every source that the module imports, be it in a function, and all data of the
    predictor: of each file its content, and its path below ``root``.
    """
    sources = ImportClosure.of(module, root, deferred=True).sources
    digest = hashlib.sha256()
    for path in sorted({*sources, *_data(root / "zo2sim")}):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content} {path.relative_to(root).as_posix()}\n".encode())
    return digest.hexdigest()[:16]


def _data(package: Path) -> Iterator[Path]:
    """Its files that are neither sources nor compiled ones."""
    for path in package.rglob("*"):
        if path.suffix != ".py" and "__pycache__" not in path.parts and path.is_file():
            yield path


def run_id(parts: Iterable[str]) -> str:
    """Identifies a run by what it asks: 12 hexadecimal digits, over one line per part."""
    digest, end = hashlib.sha256(), ""
    for part in parts:
        digest.update(f"{end}{part}".encode())
        end = "\n"
    return digest.hexdigest()[:12]


def commit() -> str:
    """The commit of the checkout, with ``+changes`` where it was edited; 'unknown' outside one."""
    root = Path(zo2sim.__file__).resolve().parent.parent
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def provenance(*, seed: int, machines: Iterable[str]) -> dict[str, str]:
    """What the report and the trace say of themselves."""
    return {
        "commit": commit(),
        "code and data": code_version(),
        "machine files": ", ".join(sorted(set(machines))) or "none",
        "seed": str(seed),
        "command": command(),
        "python": platform.python_version(),
        "numpy": importlib.metadata.version("numpy"),
        "simpy": importlib.metadata.version("simpy"),
    }


def command() -> str:
    """What was typed."""
    return " ".join([typed_command(), *sys.argv[1:]])


def _git(root: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()
