"""Who may import what (DESIGN 10), who may print, and how long a file may be.

Arrows are stated per package (`ALLOWED`) and per room (`ARROWS`). A room is a folder; what a
folder holds, files and folders alike, has an order in which nothing imports what comes later.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from experiments.folder.import_closure import PACKAGES, imported
from tests import ROOT

SCIENCE = {"numpy", "scipy"}
MOST_LINES = 400
MOST_FILES = 25
ALLOWED = {
    "zo2sim": {"zo2sim", *SCIENCE},
    "zo2rt": {"zo2rt", "zo2sim", "torch", "numba", "safetensors", "transformers", *SCIENCE}
    | {"psutil", "pynvml", "triton"},
    "analysis": {"analysis", "zo2sim", "pandas", "pyarrow", "matplotlib", "typst", "jinja2"}
    | {"markupsafe", *SCIENCE},
}
"""Packages beside the standard library that the files of a package import."""

ARROWS = {
    "zo2sim": {
        "schedule": "",
        "plan": "",
        "models": "",
        "machines": "plan",
        "policies": "models plan schedule",
        "simulate": "schedule",
        "cost": "machines models plan schedule simulate",
        "memory": "machines models plan policies schedule",
        "predict": "cost machines memory models plan policies schedule simulate",
        "search": "cost machines memory models plan policies predict schedule simulate",
        "baselines": "cost machines memory models plan policies schedule simulate",
    },
    "zo2rt": {
        "model": "",
        "backends": "",
        "checkpoint": "backends model",
        "noise": "model",
        "races": "backends",
        "weights": "backends model noise",
        "data": "model noise",
        "journal": "model noise",
        "exchange": "journal",
        "lanes": "backends model noise weights",
        "steps": "backends exchange journal lanes model noise weights",
        "memory": "backends model weights",
        "engine": "backends checkpoint exchange journal lanes memory model noise steps weights",
        "measure": "backends engine exchange model noise",
        "sampling": "",
        "tracing": "model",
    },
    "analysis": {
        "fits": "",
        "validation": "",
        "claims": "fits",
        "plots": "claims fits validation",
        "scores": "",
        "report": "claims plots scores validation",
    },
    "experiments": {
        "case": "entry",
        "folder": "entry",
        "campaign": "",
        "entry": "",
        "speed": "campaign",
        "answer": "case",
        "comparison": "answer campaign folder",
        "day": "campaign comparison folder",
        "jobs": "answer case folder",
        "planner": "answer case",
        "training": "answer campaign case entry folder",
        "accuracy": "folder training",
    },
}
"""Rooms of the same package that a room imports; files at the package's top are not rooms."""


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def modules(path: Path) -> frozenset[str]:
    """What a file imports, wherever in the file it does: modules, as far as names may be them."""
    return imported(path, deferred=True)


def imports(path: Path) -> set[str]:
    return {name for name in modules(path) if "." not in name}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def rooms(package: str) -> list[str]:
    return sorted(p.parent.name for p in (ROOT / package).glob("*/__init__.py"))


def folders() -> Iterator[Path]:
    for package in (*PACKAGES, "tests"):
        yield from {path.parent for path in sources(package)}


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_its_layer_may(package: str):
    foreign = {
        (named(path), name)
        for path in sources(package)
        for name in imports(path)
        if name not in ALLOWED[package] | {"simpy"} | sys.stdlib_module_names
    }
    assert foreign == set()


@pytest.mark.parametrize("package", ARROWS)
def test_a_room_imports_only_the_rooms_below_it(package: str):
    known = rooms(package)
    assert sorted(ARROWS[package]) == known
    found = {
        room: {
            name.split(".")[1]
            for path in sources(f"{package}/{room}")
            for name in modules(path)
            if name.startswith(f"{package}.")
        }
        & (set(known) - {room})
        for room in known
    }
    assert found == {room: set(below.split()) for room, below in ARROWS[package].items()}


@pytest.mark.parametrize("folder", sorted(map(named, folders())))
def test_what_a_folder_holds_has_an_order(folder: str):
    """No circle among its files and folders; its ``__init__`` is its door and comes last."""
    path, prefix = ROOT / folder, folder.replace("/", ".") + "."
    graph: dict[str, set[str]] = {}
    for source in path.rglob("*.py"):
        if source != path / "__init__.py":
            child = source.relative_to(path).parts[0].removesuffix(".py")
            below = (n.removeprefix(prefix) for n in modules(source) if n.startswith(prefix))
            graph.setdefault(child, set()).update(n.partition(".")[0] for n in below)
    order = TopologicalSorter({child: below - {child} for child, below in graph.items()})
    assert set(graph) <= set(order.static_order())  # a circle raises


def test_no_folder_is_a_drawer():
    sizes = Counter(path.parent for package in (*PACKAGES, "tests") for path in sources(package))
    assert {named(path): n for path, n in sizes.items() if n > MOST_FILES} == {}


def test_every_room_says_what_it_is_for():
    doors = [path for p in PACKAGES for path in sources(p) if path.name == "__init__.py"]
    silent = [p for p in doors if ast.get_docstring(ast.parse(p.read_text("utf-8"))) is None]
    assert [named(path) for path in silent] == []


@pytest.mark.parametrize("package", ARROWS)
def test_the_map_of_contributors_has_every_room(package: str):
    lines = (ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()
    (there,) = (line for line in lines if line.startswith(f"    {package}/"))
    assert set(rooms(package)) - set(re.findall(r"\w+", there)) == set()


def test_only_the_simulator_knows_simpy():
    users = {named(path) for p in PACKAGES for path in sources(p) if "simpy" in imports(path)}
    assert users == {"zo2sim/simulate/events.py", "zo2sim/simulate/fabric.py"}


def test_only_one_file_knows_torch_distributed():
    users = {
        named(path)
        for p in PACKAGES
        for path in sources(p)
        if any(name.startswith("torch.distributed") for name in modules(path))
    }
    assert users == {"zo2rt/exchange/gloo.py"}


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


def test_only_a_policy_s_own_rooms_tell_policies_by_name():
    elsewhere = {
        named(path)
        for path in (*sources("zo2sim"), *sources("zo2rt"))
        if re.search(r"policy (is|in|not in|[!=]=) ", path.read_text())
        and path.parent.name not in ("plan", "policies")
    }
    assert elsewhere == set()


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_no_file_is_long(package: str):
    lengths = {named(p): len(p.read_text(encoding="utf-8").splitlines()) for p in sources(package)}
    assert {name: n for name, n in lengths.items() if n > MOST_LINES} == {}


def test_no_file_is_a_hotchpotch():
    names = {"utils.py", "helpers.py", "util.py", "common.py", "misc.py"}
    assert [named(p) for package in PACKAGES for p in sources(package) if p.name in names] == []


def test_the_predictor_loads_without_the_packages_of_other_layers():
    """In an interpreter where importing them fails, as where they are not installed."""
    names = [named(p).removesuffix(".py").replace("/", ".") for p in sources("zo2sim")]
    blocked = ("torch", "pandas", "matplotlib", "tyro", "rich", "transformers", "numba")
    script = "\n".join(
        [
            "import sys, importlib",
            f"sys.modules.update(dict.fromkeys({blocked!r}))",
            f"for name in {names!r}: importlib.import_module(name.removesuffix('.__init__'))",
        ]
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
