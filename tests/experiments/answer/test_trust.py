"""What stands beside a prediction: bands in words, on the screen, in JSON and in records."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import plan, sweep, tune
from experiments.answer.trust import Trust, band_cell, summed, with_band
from experiments.case.sizes import show_number, show_seconds
from experiments.case.spec import Spec
from experiments.jobs.job import Job, answer
from experiments.jobs.tables import long, wide, wide_row
from tests.calibrated import calibrated_host
from tests.commands import call
from zo2sim.machines.file import dump
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.predict.predict import predict
from zo2sim.simulate import events

SMALL = ("--model", "opt-125m")
RESIDENT = Spec(
    model="opt-125m",
    machine="a100-pcie-80gb",
    plan=Plan(policy=Policy.RESIDENT),
    recipe=Recipe(),
)


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (21.8, 20.0, 24.0, "21.8 s (90 %: 20.0 to 24.0 s)"),
        (0.99, 0.9, 1.1, "990 ms (90 %: 900 ms to 1.10 s)"),
        (21.8, 21.79, 21.81, "21.8 s (no band: what binds has no known spread)"),
    ],
)
def test_a_number_stands_beside_its_band(value: float, low: float, high: float, text: str):
    assert with_band(value, low, high, show_seconds) == text


def test_a_number_without_a_unit_has_a_band_too():
    assert with_band(94.0, 90.0, 99.0, show_number) == "94 (90 %: 90 to 99)"


def test_names_are_summed_up():
    assert summed(("a", "b")) == "a, b"
    assert summed(("a", "b", "c")) == "a, b and 1 more"


def test_a_band_that_says_nothing_is_none_in_a_table():
    assert band_cell(21.8, 20.0, 24.0, show_seconds) == "20.0 to 24.0 s"
    assert band_cell(21.8, 21.79, 21.81, show_seconds) is None


def test_advice_stands_beside_its_bands():
    screen = call(plan, *SMALL, "--details").out
    table = screen.partition("what to change first, with bands")[2].partition("holds ")[0]
    assert "tokens/s  90 % band" in table
    rows = re.findall(r"([\d,.]+) +([\d,.]+) to ([\d,.]+)", table)
    assert len(rows) == 3
    for speed, low, high in rows:
        assert value(low) < value(speed) < value(high)


def value(shown: str) -> float:
    return float(shown.replace(",", ""))


def test_a_target_is_reached_within_a_band(tmp_path: Path):
    asked = (*SMALL, "--machine", "rtx-4090-24gb", "--target-tokens-per-s", "20000")
    screen = " ".join(call(plan, *asked, "--json", str(tmp_path / "a.json")).out.split())
    found = json.loads((tmp_path / "a.json").read_text())["target"]["device_memory"]
    low, high = found["tokens_per_s_band"]
    assert low < found["tokens_per_s"] < high
    assert "What is needed is a point prediction; bands are of what it gives." in screen
    assert screen.count("(90 %: ") == 3


def test_prices_say_that_they_are_point_predictions(tmp_path: Path):
    file = tmp_path / "prices.toml"
    file.write_text('[[machine]]\nname = "rtx-4090-24gb"\nprice_per_hour = 0.5\n')
    screen = call(plan, *SMALL, "--cheapest", str(file)).out
    assert "Speeds and prices are point predictions; plan --machine NAME has their bands" in screen


def test_plan_shows_the_band_and_what_it_holds():
    screen = call(plan, *SMALL, "--policy", "resident", "--details").out
    assert " ms (90 %: " in screen
    assert "scatter around kernel tables of a sibling card (2.2%)" in " ".join(screen.split())
    found = call(plan, *SMALL, "--policy", "resident", "--json", "-").json
    low, high = found["band"]["step_s"]
    assert low < found["step_s"] < high
    assert found["band"]["coverage"] == 0.9
    assert "host.fsync_s" in found["band"]["lacks"]


def test_an_uncertain_fit_says_its_share(tmp_path: Path):
    """The A100's context is known to lie in 1.284 to 1.483 GB."""
    needed = call(plan, *SMALL, "--json", "-").json["device_bytes"]
    screen = call(plan, *SMALL, "--device-memory", f"{needed}").out
    assert "opt-125m on a100-pcie-80gb, zo2: fits, in 5" in screen.splitlines()[0]


def test_hours_have_a_band():
    found = call(plan, *SMALL, "--policy", "resident", "--tokens", "1e9", "--json", "-").json["run"]
    low, high = found["hours_band"]
    assert low < found["hours"] < high


def test_the_best_plan_has_a_band():
    found = call(tune, *SMALL, "--axis", "policy=resident", "--json", "-").json
    low, high = found["band"]["step_s"]
    assert low < found["best"]["step_s"] < high


def test_records_carry_the_ends_of_the_bands():
    job = Job(question="grid", label="one", spec=RESIDENT)
    found = answer(job)
    rows = long([job], {job.key: found}, "run").set_index("metric")
    assert rows.loc["step_s", ["low", "high"]].tolist() == [
        found["step_s_low"],
        found["step_s_high"],
    ]
    assert rows.loc["tokens_per_s", "low"] < rows.loc["tokens_per_s", "value"]
    assert "scatter around kernel tables" in rows.loc["band_holds", "text"]
    assert not [metric for metric in rows.index if metric.endswith(("_low", "_high"))]
    assert wide([wide_row(job, found)])["step_s_low"].tolist() == [found["step_s_low"]]


def test_without_bands_it_is_another_question():
    job = Job(question="grid", label="one", spec=RESIDENT)
    bare = replace(job, bands=False)
    assert job.key != bare.key
    found = answer(bare)
    assert "step_s_low" not in found
    assert found["hold_out_error"] == "not validated on real runs"
    assert "GEMM" in found["extrapolated"]


def test_a_sweep_can_leave_bands_out(tmp_path: Path):
    words = ("--preset", "none", *SMALL, "--jobs", "1", "--no-report")
    for name, more in (("with", ()), ("without", ("--no-bands",))):
        assert call(sweep, *words, *more, "--out", str(tmp_path / name)).code == 0
    lows = [
        pd.read_parquet(tmp_path / name / "records.parquet")
        .set_index("metric")
        .loc["step_s", "low"]
        for name in ("with", "without")
    ]
    assert lows[0] > 0.0
    assert pd.isna(lows[1])


def test_a_calibrated_machine_says_what_was_drawn(tmp_path: Path):
    file = tmp_path / "m.toml"
    file.write_text(dump(calibrated_host(1.2)))
    fp32 = ("--storage-dtype", "fp32", "--wire-dtype", "fp32", "--compute-dtype", "fp32")
    screen = call(plan, *SMALL, "--machine", str(file), *fp32, "--details").out
    assert "scatter of runs around their prediction (2.0%)" in " ".join(screen.split())


@pytest.mark.parametrize(
    ("widest", "part"),
    [
        ("device", "products"),
        ("law", "products"),
        ("device.memory_bytes_per_s", "moves"),
        ("device.launch_s", "launches"),
        ("device.gaussian_noise_elements_per_s", "noise"),
        ("link.both_h2d_bytes_per_s", "link"),
        ("link.h2d_bytes_per_s", "link"),
        ("host.dram_bytes_per_s", "host"),
        ("nvme.read_bytes_per_s", "files"),
    ],
)
def test_what_makes_a_band_wide_names_the_part_that_measures_it(widest: str, part: str):
    found = Trust.of(predict(RESIDENT.case()))
    told = replace(found, band=replace(found.band, widest=widest, widest_share=0.9))
    assert any(text.endswith(f"--only {part}") for _, text in told.rows())


def test_a_step_that_is_only_averaged_is_said_to_be(monkeypatch: pytest.MonkeyPatch):
    shown = (*SMALL, "--machine", "rtx-4090-24gb")
    assert call(plan, *shown, "--json", "-").json["averaged_periods"] == 0
    assert "periods" not in call(plan, *shown).out
    monkeypatch.setattr(events, "cycles", lambda ends: np.zeros(1))
    assert call(plan, *shown, "--json", "-").json["averaged_periods"] == 48
    assert "trust  a mean of 48 periods, none of which repeats" in call(plan, *shown).out
    assert "none found: the mean of 48 periods" in call(plan, *shown, "--details").out
