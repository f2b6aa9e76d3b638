"""What imports reach, read from the sources; and what every command needs to be installed."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from experiments.folder.import_closure import PACKAGES, ImportClosure, imported
from tests import ROOT
from zo2sim.models.file import dump
from zo2sim.models.presets import preset

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
IMPORTED_AS = {"nvidia-ml-py": "pynvml"}
COMES_WITH = {"markupsafe": "jinja2"}

NEEDS = {
    "baseline": ("", "report rt"),
    "bench": ("", "rt"),
    "calibrate": ("rt", "rt"),
    "fit_kernels": ("", ""),
    "fit_memory": ("", ""),
    "machines": ("", ""),
    "models": ("", ""),
    "page": ("", "rt"),
    "plan": ("", "rt"),
    "replay": ("rt", "report rt"),
    "report": ("", "report"),
    "reproduce": ("", "report"),
    "run": ("rt", "report rt"),
    "scale": ("", "report rt"),
    "sensitivity": ("", "report rt"),
    "serve": ("", "rt"),
    "sweep": ("", "report rt scale"),
    "tune": ("", "report rt"),
    "validate": ("rt", "report rt"),
    "verify": ("", "rt"),
}
"""Of every command the extras that it needs to start, and to do all that it can.

Planning needs the runtime for one thing, in one place: to trace a model that no reader knows.
"""

HANDMADE = {
    "experiments/__init__.py": "import json",
    "experiments/asked.py": "from experiments.believed import Trust\nimport numpy as np",
    "experiments/believed.py": "class Trust:\n    import zo2sim.cost.cpu",
    "experiments/other.py": "import torch",
    "zo2sim/__init__.py": "def late():\n    from zo2sim import deep",
    "zo2sim/deep.py": "try:\n    import scipy.stats\nexcept ImportError:\n    from os import path",
    "zo2sim/cost/__init__.py": "from zo2sim.rates import RATE",
    "zo2sim/cost/cpu.py": "from zo2sim import cost",
    "zo2sim/rates.py": "RATE = 1",
    "numpy/__init__.py": "import torch",
}


@pytest.fixture
def handmade(tmp_path: Path) -> Path:
    for name, text in HANDMADE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def reached(root: Path, *, deferred: bool, module: str = "experiments.asked") -> list[str]:
    sources = ImportClosure.of(module, root, deferred=deferred).sources
    return sorted(path.relative_to(root).as_posix() for path in sources)


AT_ONCE = [
    "experiments/__init__.py",
    "experiments/asked.py",
    "experiments/believed.py",
    "zo2sim/__init__.py",
    "zo2sim/cost/__init__.py",
    "zo2sim/cost/cpu.py",
    "zo2sim/rates.py",
]


def test_an_import_reaches_the_module_its_packages_and_what_they_import(handmade: Path):
    assert reached(handmade, deferred=False) == AT_ONCE


def test_what_a_function_imports_is_deferred(handmade: Path):
    assert reached(handmade, deferred=True) == sorted([*AT_ONCE, "zo2sim/deep.py"])


def test_other_packages_are_named_and_not_read(handmade: Path):
    """Installed, they lie in the same folder as this project's."""
    at_once = ImportClosure.of("experiments.asked", handmade, deferred=False)
    ever = ImportClosure.of("experiments.asked", handmade, deferred=True)
    assert (at_once.foreign, ever.foreign) == ({"numpy"}, {"numpy", "scipy"})


def test_a_module_that_is_not_there_has_no_closure(handmade: Path):
    with pytest.raises(ValueError, match=r"experiments\.gone must be a module of the project"):
        ImportClosure.of("experiments.gone", handmade, deferred=True)


def test_python_loads_what_the_sources_say():
    script = (
        "import sys, experiments.jobs.job; loaded = list(sys.modules.items()); "
        f"print(*(m.__file__ for n, m in loaded if n.partition('.')[0] in {PACKAGES}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    closure = ImportClosure.of("experiments.jobs.job", ROOT, deferred=False)
    assert {*map(Path, loaded.stdout.split())} == closure.sources


def test_the_packages_are_those_that_are_installed():
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [*PACKAGES]


def modules_of(requirements: list[str]) -> set[str]:
    """Names by which a program imports what it requires."""
    names = [re.split(r"[<>=\[]", text)[0] for text in requirements]
    return {IMPORTED_AS.get(name, name) for name in names}


CORE = modules_of(PYPROJECT["project"]["dependencies"])
EXTRAS = {
    extra: modules_of(requirements)
    for extra, requirements in PYPROJECT["project"]["optional-dependencies"].items()
    if extra not in ("dev", "all")
}


def commands() -> list[str]:
    """Files that run when they are called, and read their flags with tyro."""
    called = [
        path.stem
        for path in sorted((ROOT / "experiments").glob("*.py"))
        if '\nif __name__ == "__main__":\n' in path.read_text(encoding="utf-8")
    ]
    return [verb for verb in called if "tyro" in foreign(verb, deferred=False)]


def foreign(verb: str, *, deferred: bool) -> frozenset[str]:
    return ImportClosure.of(f"experiments.{verb}", ROOT, deferred=deferred).foreign


def extras(verb: str, *, deferred: bool) -> str:
    """Extras that bring what the core does not."""
    wanted = {COMES_WITH.get(name, name) for name in foreign(verb, deferred=deferred)} - CORE
    assert wanted <= set().union(*EXTRAS.values()), "imports what pyproject.toml does not name"
    return " ".join(sorted(extra for extra, modules in EXTRAS.items() if wanted & modules))


def test_every_command_starts_with_the_extras_that_it_is_said_to_need():
    found = {
        verb: (extras(verb, deferred=False), extras(verb, deferred=True)) for verb in commands()
    }
    assert found == NEEDS


def test_a_plan_needs_the_runtime_in_one_place_and_late():
    closure = ImportClosure.of("experiments.plan", ROOT, deferred=True)
    asks = {
        source.relative_to(ROOT).as_posix(): imported(source, deferred=False)
        for source in closure.sources
        if source.is_relative_to(ROOT / "experiments")
        and "zo2rt" in imported(source, deferred=True)
    }
    assert set(asks) == {"experiments/case/model.py"}
    assert "zo2rt" not in asks["experiments/case/model.py"]


def test_to_trace_a_model_no_compiler_of_kernels_is_loaded():
    """Which takes more than a second, and what is traced computes nothing."""
    closure = ImportClosure.of("zo2rt.tracing.tracing", ROOT, deferred=False)
    assert not closure.foreign & {"numba", "triton"}


def without_extras(*called: list[str]) -> list[tuple[int, str]]:
    """Exit code and stderr of commands where no extra is installed."""
    missing = sorted(set().union(*EXTRAS.values()))
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.experiments.folder.without_extras",
            json.dumps(missing),
            json.dumps(called),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return [(code, err) for code, err in json.loads(ran.stdout)]


def test_a_core_install_plans_and_says_which_extra_brings_the_rest(tmp_path: Path):
    """`.ci/core` runs every command that needs none, installed from the wheel."""
    written, unread = tmp_path / "written.json", tmp_path / "unread.json"
    written.write_text(dump(preset("opt-125m")))
    unread.write_text('{"model_type": "bert"}')
    one = ["sweep", "--model", "opt-125m", "--preset", "none", "--no-report", "--jobs", "1"]
    done, swept, *refused = without_extras(
        ["plan", "--model", str(written)],
        [*one, "--out", str(tmp_path / "sweep")],
        ["report", str(tmp_path / "sweep"), "--out", str(tmp_path / "paper")],
        ["plan", "--model", str(unread)],
        [*(part for part in one if part != "--no-report"), "--out", str(tmp_path / "never")],
    )
    assert done == swept == (0, "")
    for extra, (code, complaint) in zip(("report", "rt", "report"), refused, strict=True):
        assert code == 2
        assert f"install 'zo2sim[{extra}]'" in complaint
    assert not (tmp_path / "never").exists()
