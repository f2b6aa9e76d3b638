"""Mutants: what is changed, what is left alone, and how a mutant that nobody notices is told."""

from pathlib import Path

import pytest

from tests import ROOT
from tests.core_modules import EQUIVALENT, GROUPS, Group
from tests.mutate import Mutant, copied, mutants, outcome, sampled, tried

GROUP = Group(modules=("m.py",), tests=("test_m.py",))


def changes(source: str) -> list[str]:
    """What is said of every mutant, behind the line that it is in."""
    return [make().said.partition("  # ")[2] for make in mutants("m.py", source)]


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
    ],
)
def test_what_says_nothing_about_results_is_left_alone(source: str):
    assert changes(source) == []


def test_the_rest_of_the_module_stays():
    (make,) = mutants("m.py", "def f(a):\n    return a + a\n")
    assert make() == Mutant(
        "m.py", "m.py: return a + a  # a + a -> a - a", "def f(a):\n    return a - a"
    )


def test_a_mutant_is_killed_or_survives_and_the_module_is_as_it_was(tmp_path: Path):
    source = "def f(a):\n    return a + a if a != 7 else 14\n"
    (tmp_path / "m.py").write_text(source)
    (tmp_path / "test_m.py").write_text("from m import f\ndef test(): assert f(2) == 4\n")
    found = {m.said.partition("  # ")[2]: m for m in (make() for make in mutants("m.py", source))}
    assert tried(tmp_path, GROUP, found["a + a -> a - a"], 300.0) == "killed"
    assert tried(tmp_path, GROUP, found["14 -> 15"], 300.0) == "survived"
    assert (tmp_path / "m.py").read_text() == source
    assert outcome(tmp_path, GROUP.tests, 0.01) == "timed out"


def test_a_sample_is_drawn_by_its_seed_alone_and_equally_of_every_group():
    one, again, other = (sampled([*GROUPS], 2 * len(GROUPS) + 1, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert [len(chosen) for chosen in one.values()] == [3, *[2] * (len(GROUPS) - 1)]
    for name, chosen in one.items():
        assert {mutant.module for mutant in chosen} <= {*GROUPS[name].modules}


def test_what_is_said_to_be_equivalent_is_still_there():
    modules = {module for group in GROUPS.values() for module in group.modules}
    sources = {module: (ROOT / module).read_text() for module in modules}
    there = {make().said for module, text in sources.items() for make in mutants(module, text)}
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
