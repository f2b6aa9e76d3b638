"""`baseline`: the answer on a screen and as JSON, schedules as text, and its exit codes."""

from pathlib import Path

import pytest

from experiments import baseline, verify
from tests.commands import call

SMALL = ("--model", "opt-1.3b")


def test_json_holds_time_memory_and_no_hazard():
    answer = call(baseline, *SMALL, "--method", "zero_offload", "--json", "-").json
    assert (answer["schema"], answer["fits"], answer["hazards"]) == (1, True, [])
    assert answer["step_s"] >= answer["lower_bound_s"] * (1 - 1e-9)
    assert sum(answer["memory"]["device"].values()) == answer["device_bytes"]


def test_screen_is_readable_on_80_columns():
    out = call(baseline, "--method", "fuyou", "--machine", "rtx-4090-24gb").out
    assert out.startswith("opt-13b on rtx-4090-24gb, fuyou: fits\n")
    assert max(map(len, out.splitlines())) <= 80


def test_what_does_not_fit_has_its_own_exit_code():
    outcome = call(baseline, "--method", "adamw")
    assert outcome.code == 3
    assert "does not fit" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_memory_can_be_set():
    assert call(baseline, *SMALL, "--device-memory", "80GB").code == 0
    assert call(baseline, *SMALL, "--device-memory", "8GB").code == 3


@pytest.mark.parametrize("method", ["adamw", "zero_offload", "zero_infinity", "fuyou"])
def test_the_text_form_can_be_checked_by_verify(method: str, tmp_path: Path):
    file = tmp_path / "schedule.txt"
    file.write_text(call(baseline, *SMALL, "--method", method, "--text").out)
    assert call(verify, "--file", str(file)).code == 0


def test_show_prints_names_and_edges():
    assert call(baseline, *SMALL, "--show").out.startswith("Fhead | F0 | F1 | ")


def test_wrong_usage_is_one_line():
    outcome = call(baseline, "--method", "zero_infinity", "--microbatches", "2")
    assert outcome.code == 2
    assert "gradients on NVMe are not summed over microbatches" in outcome.complaint
