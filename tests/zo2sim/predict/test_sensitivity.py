"""Elasticities, breakpoints and grids: against arithmetic by hand, and against predictions."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from analysis.plots.sensitivity import axis_label, step_contours, tornado
from analysis.plots.style import svg_text
from experiments import sensitivity
from tests.commands import call
from zo2sim.machines.file import named
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict
from zo2sim.predict.sensitivity import (
    LINK,
    SWING,
    Elasticity,
    elasticities,
    grid,
    value_of,
    varied,
    with_value,
)

CASE = Case(
    model=preset("opt-125m"), machine=named("a100-pcie-80gb"), plan=Plan(), recipe=Recipe(batch=4)
)
RESIDENT = replace(CASE, plan=Plan(policy=Policy.RESIDENT))
COMMAND = ("--model", "opt-125m", "--batch", "4")


@cache
def rows_of(case: Case) -> Sequence[Elasticity]:
    return tuple(elasticities(case))


def by_key(case: Case) -> dict[str, Elasticity]:
    return {row.key: row for row in rows_of(case)}


def test_only_what_changes_a_cost_is_listed():
    """A resident model never uses the link's rates, the host's cores or NVMe."""
    keys = set(by_key(RESIDENT))
    assert {"device.memory_bytes_per_s", "device.bf16_flops_per_s"} <= keys
    assert not [
        k for k in keys if k.startswith(("nvme.", "host.dram")) or k.endswith("h2d_bytes_per_s")
    ]
    assert not [k for k in by_key(CASE) if "memory_bytes" in k and not k.endswith("per_s")]


def test_ends_of_the_swing_are_predictions():
    found = by_key(CASE)["link.d2h_bytes_per_s"]
    for factor, step_s in ((1 / SWING, found.low_s), (SWING, found.high_s)):
        machine = varied(CASE.machine, found.key, factor)
        assert predict(replace(CASE, machine=machine)).step_s == pytest.approx(step_s, rel=1e-12)


def test_elasticities_of_rates_and_times_sum_to_minus_one():
    """Twice the rates and half the times give half the step (Euler, on homogeneous functions).

    Up to the launches that are part of the fitted kernel times, which no constant scales.
    """
    rows = by_key(RESIDENT)
    rates = sum(row.elasticity for key, row in rows.items() if key.endswith("_per_s"))
    times = sum(row.elasticity for key, row in rows.items() if re.search(r"(?<!per)_s$", key))
    assert times > 0.0
    assert rates - times == pytest.approx(-1.0, abs=0.04)


def test_the_largest_swing_comes_first():
    swings = [row.swing_s for row in rows_of(CASE)]
    assert swings == sorted(swings, reverse=True)


def test_both_ways_rates_give_way_to_one_way_rates():
    slower = varied(CASE.machine, "link.h2d_bytes_per_s", 0.1)
    assert slower.link.both_h2d_bytes_per_s.value == slower.link.h2d_bytes_per_s.value
    faster = varied(CASE.machine, "link.both_h2d_bytes_per_s", 100.0)
    assert faster.link.both_h2d_bytes_per_s.value == CASE.machine.link.h2d_bytes_per_s.value


def test_counts_stay_whole():
    assert varied(CASE.machine, "host.num_cores", 0.001).host.num_cores.value == 1


def test_a_grid_is_the_predictions_one_by_one():
    found = grid(CASE, LINK, (5e9, 20e9), "host.dram_bytes_per_s", (10e9, 100e9))
    expected = np.empty((2, 2))
    for i, dram in enumerate(found.ys):
        for j, link in enumerate(found.xs):
            machine = with_value(with_value(CASE.machine, LINK, link), found.y_key, dram)
            expected[i, j] = predict(replace(CASE, machine=machine)).step_s
    np.testing.assert_allclose(found.step_s, expected, rtol=1e-12)


@pytest.mark.parametrize("key", ["link.speed", "device.name", ""])
def test_a_key_is_a_constant_of_the_machine(key: str):
    with pytest.raises(ValueError, match=r"a key must be link or a constant of a100-pcie-80gb"):
        value_of(CASE.machine, key)


# Figures


def test_a_tornado_has_a_bar_to_each_side_of_the_step():
    rows = [
        Elasticity(key="link.latency_s", value=1.0, elasticity=0.5, low_s=9.0, high_s=12.0),
        Elasticity(key="host.fsync_s", value=1.0, elasticity=0.1, low_s=10.0, high_s=11.0),
    ]
    axes = tornado(rows, 10.0).axes[0]
    ends = [[bar.get_x() + bar.get_width() for bar in box] for box in axes.containers]
    assert ends == [[9.0, 10.0], [12.0, 11.0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["link latency", "host fsync"]
    assert svg_text(tornado(rows, 10.0)) == svg_text(tornado(rows, 10.0))


def test_contours_say_both_constants_with_units():
    found = grid(CASE, LINK, (5e9, 20e9, 80e9), "host.dram_bytes_per_s", (10e9, 50e9, 100e9))
    axes = step_contours(found).axes[0]
    assert axes.get_xlabel() == "link rate, host to device (GB/s)"
    assert axes.get_ylabel() == "host dram rate (GB/s)"
    assert axes.get_xlim() == pytest.approx((5.0, 80.0))
    assert axis_label("host.fsync_s") == "host fsync (s)"
    assert axis_label("device.gemm_flops_per_s") == "device gemm rate (FLOP/s)"
    assert axis_label("device.sustained_ratio") == "device sustained ratio"


# The command


def test_the_command_says_where_what_binds_changes():
    outcome = call(sensitivity, *COMMAND, "--json", "-")
    assert outcome.code == 0
    bands = outcome.json["regimes"]
    assert outcome.json["binding_resource"] in {band["binding"] for band in bands}
    assert outcome.json["elasticities"][0]["key"].startswith(("link.", "device."))


def test_figures_and_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("typst")
    monkeypatch.setenv("COLUMNS", "80")
    out = call(sensitivity, *COMMAND, "--out", str(tmp_path), "--against", "host.dram_gb").err
    assert "a key must be link or a constant" in out
    against = ("--policy", "resident", "--against", "device.memory_bytes_per_s", "--span", "4")
    screen = call(sensitivity, *COMMAND, "--out", str(tmp_path), *against).out
    assert re.search(r"device\.\w+_per_s +-0\.\d+ %", screen)
    assert max(map(len, screen.splitlines())) <= 80
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert figures == {"tornado.svg", "contours.svg"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--span", "1"), "--span must be above 1"),
        (("--against", "link"), "say where to with --out"),
        (("--vary", "link.speed"), "a key must be link or a constant"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], message: str):
    outcome = call(sensitivity, *COMMAND, *arguments)
    assert (outcome.code, message in outcome.complaint) == (2, True)


def test_who_shows_how_far_it_is_sees_every_constant():
    seen: list[str] = []

    def each(keys: Sequence[str]) -> Iterator[str]:
        for key in keys:
            seen.append(key)
            yield key

    assert tuple(elasticities(CASE, each=each)) == rows_of(CASE)
    assert seen == [*CASE.machine.quantities]
