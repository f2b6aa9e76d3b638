"""Who may import what (DESIGN 10), who may print, and how long a file may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.folder.import_closure import PACKAGES, imported
from tests import ROOT

SCIENCE = {"numpy", "scipy"}
MOST_LINES = 400
ALLOWED = {
    "zo2sim": {"zo2sim", *SCIENCE},
    "zo2rt": {"zo2rt", "zo2sim", "torch", "numba", "safetensors", "transformers", *SCIENCE}
    | {"psutil", "pynvml", "triton"},
    "analysis": {"analysis", "zo2sim", "pandas", "pyarrow", "matplotlib", "typst", "jinja2"}
    | {"markupsafe", *SCIENCE},
}
"""Packages beside the standard library that the files of a package import."""


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The top-level names that a file imports, wherever in the file it does."""
    return {name for name in imported(path, deferred=True) if "." not in name}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_its_layer_may(package: str):
    foreign = {
        (named(path), name)
        for path in sources(package)
        for name in imports(path)
        if name not in ALLOWED[package] | {"simpy"} | sys.stdlib_module_names
    }
    assert foreign == set()


def test_only_the_simulator_knows_simpy():
    users = {named(path) for p in PACKAGES for path in sources(p) if "simpy" in imports(path)}
    assert users == {"zo2sim/simulate/events.py"}


def test_only_the_commands_parse_arguments_or_print():
    """``print`` and argument parsers are names; ``sys.argv`` and the streams are attributes."""
    wrong: set[tuple[str, str]] = set()
    for path in (p for package in ("zo2sim", "zo2rt", "analysis") for p in sources(package)):
        wrong |= {(named(path), n) for n in imports(path) if n in ("tyro", "argparse", "rich")}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name) and node.id in ("print", "input"):
                wrong.add((named(path), node.id))
            elif isinstance(node, ast.Attribute) and node.attr in ("argv", "stdout", "stderr"):
                wrong.add((named(path), node.attr))
    assert wrong == set()


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_no_file_is_long(package: str):
    lengths = {named(p): len(p.read_text(encoding="utf-8").splitlines()) for p in sources(package)}
    assert {name: n for name, n in lengths.items() if n > MOST_LINES} == {}


def test_no_file_is_a_drawer():
    drawers = {"utils.py", "helpers.py", "util.py", "common.py", "misc.py"}
    assert [named(p) for package in PACKAGES for p in sources(package) if p.name in drawers] == []


def test_the_predictor_loads_without_the_packages_of_other_layers():
    """In an interpreter where importing them fails, as where they are not installed."""
    modules = [named(p).removesuffix(".py").replace("/", ".") for p in sources("zo2sim")]
    blocked = ("torch", "pandas", "matplotlib", "tyro", "rich", "transformers", "numba")
    script = "\n".join(
        [
            "import sys, importlib",
            f"sys.modules.update(dict.fromkeys({blocked!r}))",
            f"for name in {modules!r}: importlib.import_module(name.removesuffix('.__init__'))",
        ]
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
