"""`plan` asked backwards: targets, the largest model, prices, the length of a run."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import plan
from experiments.answer.largest import on_every_machine
from experiments.case.spec import Spec
from tests.commands import call
from tests.thorough import THOROUGH
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Recipe

MACHINE = ("--machine", "rtx-4090-24gb")
HOST = (("host.memory_bytes", 64e9),)
SMALL = ("--model", "opt-125m", *MACHINE)
FEW = () if THOROUGH else ("--scratch-copies", "1", "--write-back-every", "1")
"""Leaves few plans to search."""


def answer(*arguments: str) -> Any:
    return call(plan, *arguments, "--json", "-").json


def test_a_target_has_the_least_of_everything():
    asked = (*SMALL, *FEW, "--target-tokens-per-s", "20000")
    found = answer(*asked)["target"]
    device = found["device_memory"]
    assert device["tokens_per_s"] >= 20000 > device["below_at_most_tokens_per_s"]
    limited = ("--device-memory", str(device["bytes"]))
    again = answer(*asked, *limited)["target"]["device_memory"]
    assert again["bytes"] == pytest.approx(device["bytes"])
    assert found["host_memory"]["bytes"] > 0
    assert found["link"]["ruled_out_up_to_factor"] is None


def test_a_target_out_of_reach_is_the_answer_no():
    outcome = call(plan, *SMALL, *FEW, "--target-tokens-per-s", "1e9", "--json", "-")
    assert outcome.code == 3
    assert outcome.json["target"]["link"]["factor"] is None
    assert outcome.json["target"]["device_memory"]["at_most_tokens_per_s"] < 1e9


def test_the_largest_model_is_the_largest_that_fits():
    limits = ("--host-memory", "64GiB", "--device-memory", "12GB")
    found = answer("--model", "opt-6.7b", *MACHINE, *limits, "--largest-model")["largest_model"]
    sizes = {name: one["elements"] for name, one in found["presets"].items() if one["fits"]}
    assert sizes[found["largest"]] == max(sizes.values())
    for one in found["presets"].values():
        assert one["fits"] == (one["missing"] == [])
    assert found["deepest"]["fails_at_blocks"] == found["deepest"]["blocks"] + 1
    assert found["widest"]["fails_at_hidden"] == found["widest"]["hidden"] + 128
    assert found["widest"]["blocks"] < found["deepest"]["blocks"]


def test_the_largest_model_is_told_for_narrow_formats_too():
    """Traced presets are among them, and a format that somebody chose is the only one."""
    limits = ("--host-memory", "64GB", "--model", "opt-125m", "--largest-model", "--tier", "ram")
    found = answer(*limits, "--machine", "rtx-4090-24gb")["largest_model"]
    assert {"mixtral-8x22b", "llama-3.1-8b"} <= found["presets"].keys()
    own = found["presets"][found["largest"]]["elements"]
    int8, int4 = found["formats"].values()
    assert [*found["formats"]] == [
        "--trainable lora:16 --storage-dtype int8",
        "--trainable lora:16 --storage-dtype int4",
    ]
    assert own < int8["elements"] < int4["elements"]
    chosen = answer(*limits, "--trainable", "lora:8", "--storage-dtype", "int4")["largest_model"]
    assert chosen["formats"] == {}


def test_the_largest_model_of_each_machine_has_a_step():
    """With ``tier=ram`` a plan that is slower, from NVMe, does not count."""
    spec = Spec(model="opt-125m", machine="all", plan=Plan(), recipe=Recipe(), changes=HOST)
    given = frozenset({"--trainable", "--storage-dtype"})
    int4 = replace(spec, recipe=Recipe(trainable="lora:16", storage_dtype=Dtype.INT4))
    cards = ("rtx-3060-12gb", "rtx-4090-24gb")
    small, large = on_every_machine(int4, cards, ("tier",), given).content["machines"]
    assert (small["machine"], large["machine"]) == cards
    assert large["elements"] >= small["elements"] > 6e10
    for row in (small, large):
        assert row["step_s"] > 1.0
        assert row["tokens_per_s"] == pytest.approx(2048 / row["step_s"])


PRICES = """
currency = "EUR"
[[machine]]
name = "rtx-4090-24gb"
price_per_hour = 0.5
watts = 400
[[machine]]
name = "t4-16gb"
price_per_hour = 0.01
host_memory = "1GiB"
[[machine]]
name = "a100-pcie-80gb"
price_per_hour = 9
"""


def test_the_cheapest_machine_of_a_table(tmp_path: Path):
    """The T4 costs least and has no room; the A100 is faster, but not for its price."""
    file = tmp_path / "prices.toml"
    file.write_text(PRICES)
    asked = ("--model", "opt-125m", *FEW, "--cheapest", str(file), "--tokens", "1e9")
    found = answer(*asked)["cheapest"]
    rows = {row["machine"]: row for row in found["machines"]}
    assert found["cheapest"] == "rtx-4090-24gb"
    assert rows["t4-16gb"] == {"machine": "t4-16gb", "fits": False, "fast_enough": False}
    own = rows["rtx-4090-24gb"]
    assert own["hours"] == pytest.approx(1e9 / own["tokens_per_s"] / 3600)
    assert own["total"] == pytest.approx(own["hours"] * 0.5)
    assert own["kwh"] == pytest.approx(own["hours"] * 0.4)
    assert own["price_per_token"] <= rows["a100-pcie-80gb"]["least_price_per_token"]
    speed = rows["a100-pcie-80gb"]["tokens_per_s"]
    faster = answer(*asked, "--target-tokens-per-s", str(speed * 0.99))["cheapest"]
    assert faster["cheapest"] == ("a100-pcie-80gb" if speed > own["tokens_per_s"] else None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have at least one [[machine]]"),
        ("[[machine]]\nname = 'x'", "must have name and price_per_hour"),
        ("[[machine]]\nprice = 1", "keys must be name, price_per_hour"),
        ("[[machine]]\nname = 'x'\nprice_per_hour = 0", "price_per_hour must be positive"),
        ("machine = [1]", "keys must be name, price_per_hour"),
        ("[", "must be TOML"),
    ],
)
def test_a_wrong_table_is_one_line(text: str, message: str, tmp_path: Path):
    file = tmp_path / "prices.toml"
    file.write_text(text)
    outcome = call(plan, "--model", "opt-125m", "--cheapest", str(file))
    assert (outcome.code, message in outcome.complaint) == (2, True)


@pytest.mark.parametrize("watts", ["inf", "nan", "-1"])
def test_a_power_is_a_positive_number(watts: str):
    outcome = call(plan, *SMALL, "--tokens", "1e9", "--watts", watts, "--json", "-")
    assert outcome.code == 2
    assert "--watts must be positive and finite" in outcome.complaint


def test_a_run_has_hours_and_energy_where_the_power_is_known():
    speed = answer(*SMALL)["tokens_per_s"]
    found = answer(*SMALL, "--tokens", "1e9", "--watts", "500")["run"]
    assert found["hours"] == pytest.approx(1e9 / speed / 3600)
    assert found["kwh"] == pytest.approx(found["hours"] * 0.5)
    assert "unknown: give the power" in call(plan, *SMALL, "--tokens", "1e9").out


def test_answers_fit_the_screen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = call(plan, *SMALL, *FEW, "--target-tokens-per-s", "20000", "--largest-model").out
    assert re.search(r"device memory +[\d.]+ GiB +[\d,]+ tokens/s \(90 %: ", out)
    assert re.search(r"[\w.-]+ +[\d.]+ B +fits", out)
    assert max(map(len, out.splitlines())) <= 80
