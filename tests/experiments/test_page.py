"""`page` writes one file, `serve` listens until it is interrupted."""

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from experiments import page, serve
from experiments.planner.document import StoredModel
from tests import ROOT
from tests.commands import call
from zo2sim.models.shapes import Model

CARD = "rtx-3090-24gb"
ALONE = "rtx-3060-12gb"
"""Of which no machine has two."""


def test_a_page_is_written(tmp_path: Path):
    out = tmp_path / "page.html"
    found = call(page, "--models", "opt-125m", "--machines", CARD, "--out", str(out))
    assert found.code == 0
    assert re.fullmatch(rf"{out}: 1 model on 1 machine, with up to 2 cards, 0\.\d+ MB\n", found.out)
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Words of a command that was interrupted at its second model, and the models asked for."""
    out, made, asked = tmp_path / "page.html", page.stored_model, list[str]()
    words = ["--models", "opt-125m", "gpt2", "--machines", ALONE, "--jobs", "1", "--out", str(out)]

    def stored(model: Model, *more: Any) -> StoredModel:
        asked.append(model.name)
        if asked == ["opt-125m", "gpt2"]:
            raise KeyboardInterrupt
        return made(model, *more)

    monkeypatch.setattr(page, "stored_model", stored)
    first = call(page, *words)
    assert (first.code, out.exists()) == (1, False)
    assert first.complaint == "interrupted; the same command goes on after 1 of 2 models"
    return words, asked


def test_the_same_command_goes_on_where_it_was_interrupted(
    interrupted: tuple[list[str], list[str]], tmp_path: Path
):
    (words, asked), out = interrupted, tmp_path / "page.html"
    assert call(page, *words).code == 0
    assert asked == ["opt-125m", "gpt2", "gpt2"]
    whole = out.read_text(encoding="utf-8")
    assert [*tmp_path.iterdir()] == [out]
    assert call(page, *words).code == 0
    assert asked[3:] == ["opt-125m", "gpt2"]
    assert out.read_text(encoding="utf-8") == whole


def test_what_other_code_made_is_made_anew(
    interrupted: tuple[list[str], list[str]], monkeypatch: pytest.MonkeyPatch
):
    words, asked = interrupted
    monkeypatch.setattr(page, "code_version", lambda module: f"another {module}")
    assert call(page, *words).code == 0
    assert asked == ["opt-125m", "gpt2", "opt-125m", "gpt2"]


def test_an_unknown_model_is_refused_before_anything_is_predicted(tmp_path: Path):
    found = call(page, "--models", "opt-125n", "--out", str(tmp_path / "page.html"))
    assert found.code == 2
    assert "did you mean opt-125m" in found.complaint


def test_a_port_that_is_none_is_refused():
    found = call(serve, "--port", "65536")
    assert (found.code, found.complaint) == (2, "--port must be from 0 to 65535; got 65536")


def _listens() -> None:
    """Where tests run behind something else, what they start would not hear an interruption."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_the_server_says_its_address_and_ends_when_interrupted():
    words = [sys.executable, "-m", "experiments.serve", "--port", "0", "--machines", CARD]
    pipes = {"stdout": subprocess.PIPE, "text": True, "preexec_fn": _listens}
    running = subprocess.Popen(words, cwd=ROOT, **pipes)
    try:
        assert running.stdout is not None
        address = running.stdout.readline().split()[0]
        with urllib.request.urlopen(address, timeout=60) as response:
            assert "zo2sim planner" in response.read().decode()
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) == 0
    finally:
        running.kill()
        running.communicate()
