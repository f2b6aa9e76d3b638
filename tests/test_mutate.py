"""Mutants: what is changed, what is left alone, and how a mutant that nobody notices is told."""

from pathlib import Path

import pytest

from tests import ROOT
from tests.mutants.changes import mutants
from tests.mutants.core_modules import EQUIVALENT, GROUPS, Group
from tests.mutants.touched import Touched
from tests.mutants.trial import Trials, copied
from tests.mutate import sampled
from tests.thorough import some_of

GROUP = Group(modules=("m.py",), tests=("test_m.py",))


def changes(source: str) -> list[str]:
    """What is said of every mutant, behind the line that it is in."""
    return [mutant.said.partition("  # ")[2] for mutant in mutants("m.py", source)]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x = a < b", ["a < b -> a <= b"]),
        ("x = a is None", ["a is None -> a is not None"]),
        ("x = a - b", ["a - b -> a + b"]),
        ("x = a and b", ["a and b -> a or b"]),
        ("x = not a", ["not a -> a"]),
        ("x = True", ["True -> False"]),
        ("x = 3", ["3 -> 4"]),
        ("f(a, b)", ["f(a, b) -> pass", "f(a, b) -> f(b, a)"]),
        ("x += a", ["x += a -> pass"]),
        ("raise ValueError(f'{a} < {1 + 2}')", ["raise ValueError(f'{a} < {1 + 2}') -> pass"]),
    ],
)
def test_one_thing_is_changed(source: str, found: list[str]):
    assert changes(source) == found


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring of 3 words."""',
        "def f(a: Literal[1]) -> Literal[2]: ...",
        "@lru_cache(maxsize=8)\ndef f(): ...",
        "assert a < 3, a + 1",
        "x = f'{a + 1}'",
        "x = min(a, b)",
        "x = f(*a, b)",
        "x = f(a, a)",
        "x = zip(*a, strict=True)",
    ],
)
def test_what_says_nothing_about_results_is_left_alone(source: str):
    assert changes(source) == []


def test_the_rest_of_the_module_stays():
    source = "def f(a):\n    return (a\n        + a)\n"
    (mutant,) = mutants("m.py", source)
    assert mutant.said == "m.py: return (a  # a + a -> a - a"
    assert mutant.lines == range(2, 4)
    assert mutant.text == "def f(a):\n    return a - a"


SOURCE = """\
MOST = 8
def f(a):
    return a + a if a != 7 else 14
def g(a):
    while a > MOST:
        a -= 1
    return a
"""
TESTS = """\
from m import f, g
def test_f(): assert f(2) == 4
def test_g(): assert g(9) == 8
"""


WANTED = {
    "8 -> 9": "killed",  # which runs at import
    "a + a -> a - a": "killed",
    "14 -> 15": "survived",
    "a -= 1 -> pass": "timed out",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "m.py").write_text(SOURCE)
    (tmp_path / "test_m.py").write_text(TESTS)
    return tmp_path


def test_a_mutant_is_killed_or_survives_and_the_module_is_as_it_was(
    tree: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tests.mutants.trial._STARTED_S", 1.0)
    found = {m.said.partition("  # ")[2]: m for m in mutants("m.py", SOURCE)}
    with Trials(tree, imported=()) as trials:
        touched = trials.touched(GROUP)
        told = {change: trials.outcome(found[change], touched) for change in WANTED}
    assert told == WANTED
    assert (tree / "m.py").read_text() == SOURCE
    assert touched.lines["m.py"]["3"] == ["test_m.py::test_f"]
    assert touched.lines["m.py"]["6"] == ["test_m.py::test_g"]


def test_tests_that_fail_unchanged_are_told(tree: Path):
    (tree / "test_m.py").write_text("def test(): assert 1 == 2\n")
    with (
        Trials(tree, imported=()) as trials,
        pytest.raises(ValueError, match=r"must pass unchanged; pytest ends with 1:[^$]*1 == 2"),
    ):
        trials.touched(GROUP)


def test_tests_that_run_a_line_come_first_and_quick_ones_before_slow_ones():
    seconds = {"a::slow": 3.0, "a::quick": 1.0, "a::other": 0.1, "b::far": 0.1}
    touched = Touched(seconds, {"m.py": {"2": ["a::slow", "a::quick"], "5": []}})
    assert [*touched.order("m.py", range(1, 4))] == ["a::quick", "a::slow", "a::other"]
    everything = ["a::other", "b::far", "a::quick", "a::slow"]
    assert [*touched.order("m.py", range(5, 6))] == everything, "it ran at import"
    assert touched.order("m.py", range(9, 10))["b::far"] == 0.1, "it is compiled"


def test_a_sample_is_drawn_by_its_seed_alone_and_equally_of_every_group():
    groups = some_of([*GROUPS], every=4)
    one, again, other = (sampled(groups, 2 * len(groups) + 1, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert [len(chosen) for chosen in one.values()] == [3, *[2] * (len(groups) - 1)]
    for name, chosen in one.items():
        assert {mutant.module for mutant in chosen} <= {*GROUPS[name].modules}


def test_what_is_said_to_be_equivalent_is_still_there():
    modules = {said.partition(":")[0] for said in EQUIVALENT}
    assert modules <= {module for group in GROUPS.values() for module in group.modules}
    sources = {module: (ROOT / module).read_text() for module in modules}
    there = {mutant.said for module, text in sources.items() for mutant in mutants(module, text)}
    assert [said for said in EQUIVALENT if said not in there] == []


def test_every_module_and_test_of_a_group_is_there():
    paths = {p for group in GROUPS.values() for p in (*group.modules, *group.tests)}
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a clone")
def test_a_copy_has_what_git_tracks(tmp_path: Path):
    assert (copied(tmp_path) / "tests" / "mutate.py").read_bytes() == (
        ROOT / "tests" / "mutate.py"
    ).read_bytes()
    assert not (tmp_path / ".git").exists()
