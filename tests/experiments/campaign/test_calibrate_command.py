"""`calibrate` and `validate`, on models so small that nothing they measure means anything."""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from analysis.fits.law import fit
from analysis.fits.machine import START_S
from experiments import calibrate, report, validate
from experiments.campaign import benchmarks, crowded
from experiments.campaign import host as calibration_rows
from experiments.campaign import references as reference
from experiments.campaign.designs import integer_runs, opt, recipe
from experiments.comparison import memory as memory_check
from tests.calibrated import calibrated_host, referenced_host
from tests.commands import call
from zo2rt.engine import engine
from zo2rt.measure import codecs, disk, host_work, noise, timing
from zo2rt.measure.footprint import Footprint
from zo2rt.measure.runs import RunSpec, opened
from zo2rt.measure.timing import Effort
from zo2rt.measure.turns import Rounds
from zo2rt.steps import timeline
from zo2rt.steps.executor import Executor
from zo2sim.cost.measured import Measured
from zo2sim.machines.evidence import Range
from zo2sim.machines.file import dump, resolve
from zo2sim.machines.machine import Machine
from zo2sim.plan.choices import Plan, Policy
from zo2sim.policies import build
from zo2sim.schedule.ops import Program, Schedule

TINY = {
    "config": opt(32, 2, vocab=64),
    "recipe": recipe(batch=1, sequence=8),
    "link_bytes_per_s": 1e8,
}


def tiny_runs(count: int, *, seed: int = 0) -> Iterator[RunSpec]:
    plans = (Plan(), Plan(policy=Policy.RESIDENT), Plan(policy=Policy.DUAL))
    for number in range(count):
        noise = ("gaussian", "rademacher")[number % 2]
        fields = {**TINY, "recipe": recipe(batch=1, sequence=8, noise=noise)}
        yield RunSpec(name=f"tiny {number}", plan=plans[number % 3], **fields)


def tiny_crowded_runs() -> Iterator[RunSpec]:
    """Two devices, one after the other and at once."""
    for plan in (Plan(devices=2), Plan(devices=2, placement="whole")):
        yield RunSpec(name="tiny, of two", plan=plan, **TINY)


def tiny_references() -> tuple[RunSpec, RunSpec]:
    """One computes a little more than the other; no run is as short."""
    plan = Plan(policy=Policy.RESIDENT)
    short = recipe(batch=1, sequence=4)
    large = RunSpec(name="large", config=TINY["config"], plan=plan, recipe=short)
    return large, replace(large, name="small", plan=Plan(), config=opt(32, 1, vocab=64))


@pytest.fixture
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_rows, "calibration_runs", tiny_runs)
    monkeypatch.setattr(calibration_rows, "crowded_runs", tiny_crowded_runs)
    monkeypatch.setattr(validate, "held_out_runs", lambda: tiny_runs(2))
    monkeypatch.setattr(memory_check, "memory_runs", lambda: tuple(tiny_runs(1)))
    grown = Footprint(arena_bytes=1, grown_bytes=10**9)
    monkeypatch.setattr(memory_check, "footprint_apart", lambda _: grown)
    for module in (calibrate, calibration_rows, reference, validate):
        monkeypatch.setattr(module, "reference_runs", tiny_references)
    hasty = Effort(rounds=1, budget_s=1e-4, least=1)
    monkeypatch.setattr(calibration_rows.Campaign, "rounds", hasty)
    monkeypatch.setattr(calibration_rows, "_LEAST_TURNS", 2)
    monkeypatch.setattr(calibration_rows, "_STEPS", 3)
    monkeypatch.setattr(host_work, "ELEMENTS", (2048, 4096))
    monkeypatch.setattr(codecs, "_ELEMENTS", (2048, 4096))
    monkeypatch.setattr(noise, "passes", partial(noise.passes, (2048, 4096)))
    monkeypatch.setattr(disk, "_PIECE_BYTES", 1 << 16)
    monkeypatch.setattr(benchmarks, "_LIMITS_BYTES_PER_S", (1e9, 2e9))
    monkeypatch.setattr(crowded, "_LOOKS", 1)
    monkeypatch.setattr(calibrate, "_FOLDS", 2)
    monkeypatch.setattr(timing, "_FAR_BYTES", 0.0)  # two of each, however near


@pytest.mark.parametrize(("effort", "turns"), [(0.1, 3), (0.5, 5), (1.0, 10), (2.0, 20)])
def test_more_effort_takes_more_turns(
    effort: float, turns: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    asked: list[int] = []

    def none(specs: object, rounds: Rounds, done: object) -> list[object]:
        asked.append(rounds.turns)
        raise KeyboardInterrupt

    monkeypatch.setattr(calibration_rows, "made", lambda *_: ())
    monkeypatch.setattr(calibration_rows, "_measured", none)
    campaign = calibration_rows.Campaign(effort=effort, seed=0, folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        calibration_rows.measure_host(campaign)
    assert asked == [turns]


@pytest.mark.usefixtures("_tiny")
def test_a_calibrated_machine_predicts_and_is_validated(tmp_path: Path):
    file, runs = tmp_path / "machine.toml", tmp_path / "runs"
    done = call(calibrate, "--out", str(file), "--effort", "0.02", "--json", "-")
    assert (done.code, done.err) == (0, "")
    assert done.json["num_rows"] > 50
    machine = resolve(file)
    _says_where_its_constants_come_from(machine)
    assert file.with_suffix(".residuals.svg").stat().st_size > 1000

    arguments = ("--machine", str(file), "--turns", "2", "--steps", "1", "--out", str(runs))
    done = call(validate, *arguments, "--no-report", "--json", "-")
    assert (done.code, done.err) == (0, "")
    names = ("n", "mape", "max_ape", "mpe", "coverage_90", "repeatability", "rules_mape")
    assert all(isinstance(done.json[name], int | float) for name in names)
    assert (done.json["n"], done.json["rss_n"], done.json["rss_max_error"]) == (
        2,
        1,
        pytest.approx(1.0, abs=0.01),
    )
    told = [c for c in done.json["complaints"] if c.startswith("tiny 0: the ")]
    assert [c.partition(" must")[0] for c in told] == ["tiny 0: the arena", "tiny 0: the process"]
    assert [check["grown_bytes"] for check in done.json["memory"]] == [None, None, 10**9]
    assert [c["divergence"] for c in done.json["configurations"]] == [None, None]
    assert [c["extrapolated"] for c in done.json["configurations"]] == [[], []]
    assert {o["kind"] for o in done.json["configurations"][0]["operations"]} == {
        "UPDATE",
        "FORWARD",
        "H2D",
        "D2H",
        "LOSS",
    }
    for name in ("plan.toml", "model.json", "trace.json.gz", "timelines.svg"):
        assert (runs / "00" / name).stat().st_size > 50
    samples = pd.read_parquet(runs / "samples.parquet")
    assert all(rss > 0.0 for rss in samples["host_rss_bytes"])
    _scored_again_and_reported(file, runs, done.json)
    _refined_by_its_runs(file, machine, runs)


def _says_where_its_constants_come_from(machine: Machine) -> None:
    assert machine.cpu is not None
    gemm = machine.cpu.gemm_flops_per_s
    assert gemm.provenance == "fitted"
    assert gemm.low is not None
    assert machine.cpu.crowded_ratio is not None
    assert machine.cpu.crowded_launch_ratio is not None
    assert machine.cpu.crowded_launch_ratio.provenance == "fitted"
    assert "experiments.calibrate" in gemm.source
    assert machine.calibrated is not None
    assert dict(machine.calibrated.ranges)["sequence"] == Range(low=8, high=8)
    assert machine.hold_out is None
    host = machine.host
    for measured in (host.dram_bytes_per_s, host.encode_bytes_per_s, machine.link.latency_s):
        assert measured.provenance == "fitted"
    assert host.update_elements_per_s("rademacher").provenance == "fitted"
    assert machine.link.pageable_h2d_bytes_per_s.provenance == "fitted"


def _scored_again_and_reported(file: Path, runs: Path, first: Any) -> None:
    """What was measured is scored again without measuring, and stands in a paper."""
    again = ("--machine", str(file), "--measured", str(runs))
    done = call(validate, *again, "--record", "--json", "-")
    assert (done.code, done.err) == (0, "")
    found = resolve(file).hold_out
    assert found is not None
    assert (found.n, found.mape) == (2, first["mape"])
    assert "commit" in found.source
    assert [_numbers(c) for c in done.json["configurations"]] == [
        pytest.approx(_numbers(c), abs=1e-6) for c in first["configurations"]
    ]
    table = pd.read_parquet(runs / "records.parquet")
    own = table[(table["metric"] == "step_s") & (table["configuration"] == "tiny 0")]
    told = first["configurations"][0]
    assert [own[name].tolist() for name in ("value", "low", "high")] == [
        [told["predicted_s"]],
        [told["low_s"]],
        [told["high_s"]],
    ]
    done = call(report, str(runs), "--out", str(runs.parent / "paper"), "--json", "-")
    assert (done.code, done.err) == (0, "")
    assert done.json["runs"] == [
        {"name": "runs", "verb": "validate", "records": len(table), "figures": 5, "traces": 0}
    ]


def _refined_by_its_runs(file: Path, machine: Machine, runs: Path) -> None:
    again = runs.parent / "again.toml"
    folders = [str(runs / "00"), str(runs / "01")]
    done = call(calibrate, "--from-run", *folders, "--machine", str(file), "--out", str(again))
    assert (done.code, done.err) == (0, "")
    assert "not told" in done.out  # beside a constant of which two runs say nothing
    assert done.out.count("warning: ") == 1
    refined = resolve(again)
    assert refined.cpu is not None
    assert refined.host.fsync_s == machine.host.fsync_s


def _numbers(configuration: dict[str, Any]) -> list[float]:
    names = ("predicted_s", "low_s", "high_s", "measured_s", "error", "rules_error")
    return [configuration[name] for name in names]


def divergences(folder: Path, *arguments: str) -> list[str | None]:
    """What `validate` says of the order in which its two configurations ran."""
    file = folder / "machine.toml"
    file.write_text(dump(referenced_host()))
    done = call(validate, "--machine", str(file), *arguments, "--json", "-")
    assert (done.code, done.err) == (0, "")
    found = [(c["name"], c["divergence"]) for c in done.json["configurations"]]
    told = {f"{name}: {text}" for name, text in found if text is not None}
    assert told <= set(done.json["complaints"])
    return [text for _, text in found]


@pytest.mark.usefixtures("_tiny")
def test_a_run_that_is_longer_than_its_trace_ran_as_scheduled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(timeline, "KEPT_STEPS", 8)
    assert divergences(tmp_path, "--turns", "1", "--steps", "8") == [None, None]


@pytest.mark.usefixtures("_tiny")
def test_a_runtime_that_changes_the_order_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """And still told when what it measured is scored again. The second one moves no block."""
    monkeypatch.setattr(engine, "Executor", lambda b, p, w, **k: Executor(b, late(p), w, **k))
    out = str(tmp_path / "runs")
    found = divergences(tmp_path, "--turns", "1", "--steps", "1", "--no-report", "--out", out)
    assert found == ["d2h: D0 of step 0 was scheduled, D1 of step 0 ran in its place", None]
    assert divergences(tmp_path, "--measured", out) == found


@pytest.mark.usefixtures("_tiny")
def test_a_runtime_that_was_given_another_schedule_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "build", lambda *given: late(build(*given)))
    another = "the schedule that was executed is not the one that was predicted"
    assert divergences(tmp_path, "--turns", "1", "--steps", "1") == [another, None]


def late(program: Program) -> Program:
    """The first block goes back after the second one."""

    def moved(schedule: Schedule) -> Schedule:
        ops = [*schedule.ops]
        at = schedule.index
        if "D1" in at:
            ops.insert(at["D1"], ops.pop(at["D0"]))
        return replace(schedule, ops=tuple(ops))

    return replace(program, prologue=moved(program.prologue), period=moved(program.period))


def test_what_is_no_validation_is_named(tmp_path: Path):
    file = tmp_path / "machine.toml"
    file.write_text(dump(calibrated_host()))
    done = call(validate, "--machine", str(file), "--measured", str(tmp_path))
    assert done.code == 2
    assert "must be the folder of a validation, as this validate --out writes it" in done.complaint


def test_a_calibration_of_a_noisy_hour_says_so():
    rows = [
        Measured(group="gap", name=f"gap {n}", amounts={"cpu.gap_s": 1.0}, seconds=1e-4 + n * 1e-7)
        for n in range(9)
    ]
    found = fit(rows, START_S)
    assert calibrate.warnings(found, calibrated_host(jitter_ratio=0.02)) == []
    (noisy,) = calibrate.warnings(found, calibrated_host(jitter_ratio=0.034))
    assert noisy.startswith("steps scattered by 3.4% while this machine was calibrated, above 3%")


def test_constants_stand_beside_their_units_and_one_warning_stands_for_all():
    """Of two constants that are only seen together neither is told, nor which is which."""
    amounts = {"cpu.gap_s": 1.0, "cpu.wake_s": 1.0}
    rate = {"host.dram_bytes_per_s": 1e9}
    rows = [
        *(Measured(group="gap", name=f"g{n}", amounts=amounts, seconds=1e-4) for n in range(9)),
        *(
            Measured(group="copy", name=f"c{n}", amounts=rate, seconds=0.1 + n / 1e4)
            for n in range(9)
        ),
    ]
    starts = {"cpu.gap_s": 5e-5, "cpu.wake_s": 5e-5, "host.dram_bytes_per_s": 1e-10}
    found = fit(rows, starts)
    assert len(found.warnings) > 1
    screen = io.StringIO()
    machine = calibrated_host(jitter_ratio=0.02)
    calibrate._print(found, machine, Path("m.toml"), Console(file=screen, width=80))
    text = screen.getvalue()
    assert re.search(r"host.dram_bytes_per_s +[\d.]+ +[\d.]+ to [\d.]+ +GB/s", text)
    assert re.search(r"cpu.gap_s +[\d.]+ +not told +us", text)
    assert text.count("warning:") == 1
    assert f"(and {len(found.warnings) - 1} more; --json lists them)" in " ".join(text.split())
    assert text.endswith("next: zo2sim plan --machine m.toml\n")


def test_runs_refine_only_a_machine_that_was_calibrated(tmp_path: Path):
    done = call(calibrate, "--from-run", str(tmp_path), "--out", str(tmp_path / "m.toml"))
    assert done.code == 2
    assert "runs refine a machine that was calibrated" in done.complaint


def test_a_folder_that_is_no_run_is_named(tmp_path: Path):
    file = tmp_path / "machine.toml"
    file.write_text(dump(calibrated_host()))
    done = call(calibrate, "--from-run", str(tmp_path), "--machine", str(file))
    assert done.code == 2
    assert "must be a run's folder with model.json, plan.toml and trace.json.gz" in done.complaint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--effort", "0"), "--effort must be above 0"),
        (("--backend", "cuda"), "--backend cuda needs a CUDA device; there is no accelerator"),
    ],
)
def test_wrong_usage_is_said_in_one_line(arguments: tuple[str, ...], message: str):
    done = call(calibrate, *arguments)
    assert done.code == 2
    assert message in done.complaint


def test_validation_needs_turns():
    done = call(validate, "--turns", "0")
    assert done.code == 2
    assert "--turns and --steps must be >= 1; got 0 and 3" in done.complaint


def test_only_a_file_takes_a_record():
    done = call(validate, "--machine", "this-host", "--record")
    assert done.code == 2
    assert "--record needs a machine file to write to; got this-host" in done.complaint


@pytest.mark.parametrize("trainable", ["lora:4", "scales"])
def test_buffers_beside_frozen_blocks_belong_to_the_arena(trainable: str):
    spec = next(spec for spec in integer_runs() if spec.recipe.trainable == trainable)
    with opened(replace(spec, config=opt(64, 2, vocab=128))) as running:
        (check,) = memory_check.arena_checks([running])
    assert check.arena_is_exact
