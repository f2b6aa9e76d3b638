"""`reproduce`: published beside predicted, on 80 columns and as JSON, and its exit codes."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments import reproduce
from tests.commands import call
from zo2sim.machines.file import named


def test_json_has_a_verdict_for_every_claim():
    answer = call(reproduce, "--json", "-").json
    keys = {"id", "published", "predicted", "relative_error", "agrees", "why", "source"}
    assert all(keys <= set(claim) for claim in answer["claims"])
    assert (answer["schema"], answer["unexplained"]) == (1, 0)
    assert answer["agree"] + answer["disagree"] == len(answer["claims"])
    fitted = [claim for claim in answer["claims"] if claim["context"] == "fitted"]
    assert answer["agree_but_fitted"] == len(fitted) == 10
    assert all(abs(claim["left_out_error"]) < 0.041 for claim in fitted)


def test_the_same_call_gives_the_same_bytes():
    first, second = (call(reproduce, "--json", "-").out for _ in range(2))
    assert first == second


def test_text_is_readable_on_80_columns():
    out = call(reproduce, "--check").out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "  opt-175b (GB)                          10.78      10.78    0.0%  agrees" in lines
    assert any(line.startswith("      plausible setups: ") for line in lines)
    at = lines.index("  opt-66b (GB)                           12.07      11.71   -3.0%  agrees*")
    assert lines[at + 1] == "      left out of the fit                           11.70   -3.1%"
    assert "  params_b (1e9)                         175.0      174.6    fits  agrees+" in lines
    assert (
        "* Fitted: the CUDA context of 1.384 GB is the best for these 10 values, so they" in lines
    )


def test_check_passes_as_long_as_every_disagreement_is_explained():
    assert call(reproduce, "--check", "--json", "-").code == 0


def test_check_says_no_where_nothing_explains(monkeypatch: pytest.MonkeyPatch):
    known = reproduce.reproduce()
    broken = (*known[:-1], replace(known[-1], agrees=False, why=""))
    monkeypatch.setattr(reproduce, "reproduce", lambda: broken)
    outcome = call(reproduce, "--check")
    assert outcome.code == 3
    assert (
        outcome.err
        == f"error: {known[-1].claim} {known[-1].item}: disagrees, and nothing says why\n"
    )
    assert call(reproduce).code == 0
    assert call(reproduce, "--json", "-").json["unexplained"] == 1


def test_figure_is_written_as_svg(tmp_path: Path):
    target = tmp_path / "claims.svg"
    assert call(reproduce, "--figure", str(target)).code == 0
    assert target.read_text().startswith("<?xml")


def test_claims_do_not_change_the_catalogue():
    before = named("rtx-4090-24gb")
    reproduce.reproduce()
    assert named("rtx-4090-24gb") == before
