"""`zo2sim`: one script for every command, quick help, and no folder that it is called in."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from experiments import plan
from experiments.cli import run
from experiments.entry.command import main
from experiments.entry.unloaded import HEAVY
from experiments.entry.verbs import VERBS
from tests import ROOT
from tests.commands import call
from tests.thorough import some_of

SCRIPT = "from experiments.entry.command import script; script()"
"""What an installed script does; as with one, no folder but the checkout is searched."""


def script(*words: str, cwd: Path = ROOT, code: str = SCRIPT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *words],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_verb_has_its_line_and_every_line_its_verb():
    known = {
        path.stem
        for path in ROOT.joinpath("experiments").glob("*.py")
        if "sys.exit(run(main, Config))" in path.read_text() or path.stem == "card"
    }
    assert set(VERBS) == known


@pytest.mark.parametrize("words", [(), ("help",), ("--help",), ("-h",)])
def test_help_lists_the_commands(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if line.startswith("  ")} == set(VERBS)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("word", some_of(["help", "--version", "completion"], every=3))
def test_a_reader_who_stops_reading_sees_no_traceback(word: str):
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-P", "-c", SCRIPT, word]
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, env=own, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"zo2sim {version('zo2sim')}\n"


def test_an_unknown_command_is_wrong_usage_and_the_closest_is_named(
    capsys: pytest.CaptureFixture[str],
):
    assert main(["tnue"]) == 2
    assert capsys.readouterr().err == (
        "error: no command is called 'tnue'; did you mean tune?; zo2sim help lists them\n"
    )


def test_a_command_is_what_its_module_is(capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "opt-125m", "l40s-48gb", "--json", "-"]) == 0
    flags = ("--model", "opt-125m", "--machine", "l40s-48gb", "--json", "-")
    assert capsys.readouterr().out == call(plan, *flags).out
    assert main(["plan", "opt-125m", "--device-memory", "1GB", "--json", "-"]) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("opt-125m", "l40s-48gb", "more"), "words but for the values of --model and --machine"),
        (("opt-125m", "--machine"), "--machine"),
    ],
)
def test_words_that_no_flag_takes_are_wrong_usage(words: tuple[str, ...], message: str):
    outcome = call(plan, *words)
    assert (outcome.code, message in outcome.complaint) == (2, True)


def test_a_folder_with_packages_of_the_same_names_does_no_harm(tmp_path: Path):
    for name in ("experiments", "analysis", "zo2sim", "rich"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the folder was imported')")
    found = script("plan", "opt-125m", cwd=tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("opt-125m on a100-pcie-80gb, zo2: fits")


def test_a_plan_that_ends_at_once_has_said_all_and_keeps_its_exit_code():
    found = script("plan", "opt-125m", "--device-memory", "1GB", "--json", "-")
    assert (found.returncode, found.stderr) == (3, "")
    assert json.loads(found.stdout)["fits"] is False


@pytest.mark.parametrize(("package", "extra"), [("torch", "rt"), ("jinja2", "report")])
def test_a_command_that_lacks_a_package_says_what_to_install(
    package: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def lacks(name: str) -> object:
        raise ModuleNotFoundError(f"No module named '{package}'", name=f"{package}.nn")

    monkeypatch.setattr("experiments.entry.command.importlib.import_module", lacks)
    assert main(["run"]) == 2
    assert capsys.readouterr().err == (
        f"error: zo2sim run needs {package}.nn: pip install 'zo2sim[{extra}]'\n"
    )
    package = "ours"
    with pytest.raises(ModuleNotFoundError):
        main(["run"])


# Help texts


def letters(text: str) -> str:
    """Without frames, and however words are broken."""
    return "".join(re.findall(r"\w", text))


_EACH = f"""
import os, sys
import rich.console, rich.progress, rich.table, tyro, zo2sim.predict.predict  # light, of many
from experiments.entry.command import main

for verb in sys.argv[1:]:  # each in a process in which no other command is loaded
    if os.fork() == 0:
        print("help of", verb)
        try:
            code = main(["help", verb])
        except SystemExit as end:
            code = end.code or 0
        loaded = [n for n in {HEAVY} if getattr(sys.modules.get(n), "__file__", None)]
        print("ended with", code, "loaded", loaded)
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def helped() -> dict[str, str]:
    """By verb: its help text, exit code and what heavy was loaded for it."""
    ran = script(*VERBS, code=_EACH)
    assert (ran.returncode, ran.stderr) == (0, "")
    parts = (part.partition("\n") for part in ran.stdout.split("help of ")[1:])
    return {verb: said for verb, _, said in parts}


@pytest.mark.parametrize("verb", VERBS)
def test_a_help_text_loads_nothing_heavy_and_is_the_same(verb: str, helped: dict[str, str]):
    """Beside that of the module with all that it imports."""
    text, _, ended = helped[verb].rpartition("ended with ")
    assert ended == "0 loaded []\n"
    module, whole = import_module(f"experiments.{verb}"), io.StringIO()
    with pytest.raises(SystemExit), contextlib.redirect_stdout(whole):
        run(module.main, module.Config, ["--help"], prog=f"zo2sim {verb}")
    assert letters(text) == letters(whole.getvalue())


def test_usage_shows_what_was_typed_and_no_none(tmp_path: Path):
    text = script("plan", "--help", cwd=tmp_path).stdout
    assert text.startswith("usage: zo2sim plan [-h] [OPTIONS]\n")
    assert "None" not in text
    assert max(map(len, text.splitlines())) <= 88
    module = subprocess.run(
        [sys.executable, "-m", "experiments.plan", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert module.stdout.startswith("usage: python -m experiments.plan [-h] [OPTIONS]\n")


# Completion


@pytest.fixture(scope="module")
def completion() -> str:
    found = script("completion")
    assert (found.returncode, found.stderr) == (0, "")
    return found.stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (("sw",), ["sweep"]),
        (("help", "tu"), ["tune"]),
        (("plan", "--det"), ["--details"]),
        (("run", "--thr"), ["--threads"]),
        (("plan", "--model", "opt-1"), ["opt-125m", "opt-1.3b", "opt-13b", "opt-175b"]),
        (("tune", "--machine", "gh"), ["gh200-96gb"]),
        (("verify", "--model"), []),
    ],
)
def test_a_shell_completes_commands_flags_and_names(
    words: tuple[str, ...], completed: list[str], completion: str
):
    typed = " ".join(("zo2sim", *words))
    code = f'COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _zo2sim; echo "${{COMPREPLY[@]}}"'
    found = subprocess.run(
        ["bash", "-c", f"{completion}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert found.stdout.split() == completed
