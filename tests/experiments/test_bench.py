"""`bench`: figures with their range, from plans that are drawn by the seed."""

import json
import random
from pathlib import Path

import pytest

from experiments import bench
from experiments.speed import devices, simulator
from experiments.speed.drawn_plans import random_cases, uncontended
from tests.commands import call
from zo2sim.machines.file import named
from zo2sim.predict.vectorised import contends

QUICK = ("--repeats", "1", "--plans", "100")


def test_figures_are_positive_and_inside_their_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One quick run, which writes the figures and prints them one per line, its range beside it."""
    monkeypatch.setattr(simulator, "_CHECKED", 10)
    file = tmp_path / "bench.json"
    lines = call(bench, *QUICK, "--json", str(file)).out.splitlines()
    found = json.loads(file.read_text())
    middles = [name for name in [*found][1:] if "_low" not in name and "_high" not in name]
    assert [line.split()[0] for line in lines] == middles
    assert found.pop("fast_path_max_relative_error") < 1e-9
    assert min(found.values()) > 0
    for stem, unit in (("simulate_opt175b_run", "_s"), ("fast_path_plans_per_s", "")):
        low, middle, high = (found[f"{stem}{end}{unit}"] for end in ("_low", "", "_high"))
        assert low <= middle <= high


def test_several_devices_are_measured_by_how_they_share(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices, "_PLANS", 16)
    monkeypatch.setattr(devices, "_MODEL", "opt-125m")
    lines = call(bench, "--devices", "2", "--repeats", "1").out.splitlines()
    names = [line.split()[0] for line in lines]
    assert [n for n in names if n.endswith("_proof_s")] == [
        f"{kind}_proof_s" for kind in ("ring", "ring_of_groups", "whole", "sliced")
    ]
    assert all(float(line.split()[1]) > 0 for line in lines)


@pytest.mark.parametrize("count", ["0", "9"])
def test_as_many_devices_as_the_machine_has(count: str):
    outcome = call(bench, "--devices", count)
    assert outcome.code == 2
    assert "--devices must be from 1 to 8" in outcome.complaint


def test_the_seed_draws_the_plans():
    machine = uncontended(named("a100-pcie-80gb"))

    def drawn(seed: int) -> list[object]:
        cases = random_cases(random.Random(seed), machine, 20)
        return [(c.plan, c.recipe, c.machine.link) for c in cases]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_most_drawn_plans_can_be_checked():
    cases = random_cases(random.Random(0), uncontended(named("a100-pcie-80gb")), 50)
    assert sum(not contends(case) for case in cases) > 25


@pytest.mark.parametrize("arguments", [("--repeats", "0"), ("--plans", "99"), ("--plans", "-1")])
def test_too_little_is_refused(arguments: tuple[str, ...]):
    outcome = call(bench, *arguments)
    assert outcome.code == 2
    assert "--repeats must be >= 1, --plans >= 100 and --pairs >= 1" in outcome.complaint
