"""README and the documents beside it: what they show is what the commands print."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from experiments import plan
from experiments.entry.verbs import VERBS
from tests import ROOT
from tests.commands import call
from tests.thorough import THOROUGH

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def shown(text: str) -> Iterator[tuple[list[str], str]]:
    """Every `$ zo2sim ...` in an indented block, as arguments, with the screen that follows it."""
    for block in re.findall(r"(?:^    .*\n|^\n)+", text, re.MULTILINE):
        lines = [line.removeprefix("    ") for line in block.strip("\n").split("\n")]
        if lines[0].startswith("$ zo2sim "):
            yield lines[0].split()[2:], "\n".join(lines[1:])


SCREENS = [*shown(README)]


def test_readme_shows_two_screens():
    assert [(a[0], "--compare" in a) for a, _ in SCREENS] == [("plan", False), ("plan", True)]


@pytest.mark.parametrize(("arguments", "screen"), SCREENS)
def test_a_screen_in_readme_is_what_the_command_prints(
    arguments: list[str], screen: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    printed = [line.rstrip() for line in call(plan, *arguments[1:]).out.rstrip("\n").splitlines()]
    assert printed == [line.rstrip() for line in screen.splitlines()]


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_is_named(verb: str):
    assert f"`{verb}`" in README
    assert f"`{verb}`" in (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_document_points_at_is_there(page: Path):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    files = [target for target in targets if "://" not in target]
    assert [name for name in files if not (page.parent / name).exists()] == []


def test_readme_has_no_table_that_is_long():
    rows = re.findall(r"(?:^\|.*\n)+", README, re.MULTILINE)
    assert max(table.count("\n") for table in rows) <= 15


MODULES = re.findall(r"automodule:: (\S+)", (ROOT / "docs" / "reference.md").read_text())


def test_the_reference_names_modules_that_are_there():
    assert len(MODULES) > 20
    assert all(import_module(name).__doc__ for name in MODULES)


@pytest.mark.skipif(not THOROUGH, reason="`make docs` is the same")
@pytest.mark.filterwarnings("ignore")
def test_the_site_is_built_without_a_warning(tmp_path: Path):
    """References are checked: one that leads nowhere is a warning, and warnings are errors."""
    sphinx = import_module("sphinx.cmd.build")
    words = ("--quiet", "--fail-on-warning", "-c", str(ROOT / "docs"), str(ROOT), str(tmp_path))
    assert sphinx.build_main([*words]) == 0
    reference = (tmp_path / "docs" / "reference.html").read_text(encoding="utf-8")
    assert "zo2sim.facade.predict" in reference
