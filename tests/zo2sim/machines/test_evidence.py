"""What stands behind a machine file: ranges, validations, and what is said of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import plan
from experiments.answer.trust import hold_out_words
from tests.calibrated import calibrated_host
from tests.commands import call
from zo2sim.dtypes import Dtype
from zo2sim.machines.evidence import Calibrated, Range, Validation
from zo2sim.machines.evidence_file import with_validation
from zo2sim.machines.file import dump, load, named
from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import replace_all, with_host_memory
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Pinning, Plan, Policy, Recipe
from zo2sim.predict.case import Case
from zo2sim.predict.extrapolation import UNSAID, outside, seen, sizes
from zo2sim.predict.predict import extrapolations

FP32 = Recipe(
    sequence=128, storage_dtype=Dtype.FP32, wire_dtype=Dtype.FP32, compute_dtype=Dtype.FP32
)
MODEL = preset("opt-125m")


def case(machine: Machine | None = None, recipe: Recipe = FP32, pinning: Pinning = "auto") -> Case:
    own = machine or calibrated_host()
    return Case(model=MODEL, machine=own, plan=Plan(pinning=pinning), recipe=recipe)


def calibrated(*cases: Case) -> Machine:
    return replace(calibrated_host(), calibrated=seen(cases or (case(),), "a test"))


def validated(machine: Machine, **changes: object) -> Machine:
    fields = {
        "n": 24,
        "mape": 0.034,
        "max_ape": 0.127,
        "mpe": -0.006,
        "coverage_90": 0.83,
        "constants": machine.constants,
        "date": "2026-11-24",
        "source": "a test",
    }
    return replace(machine, validation=Validation(**{**fields, **changes}))


# What was calibrated


def test_what_was_calibrated_is_not_extrapolated():
    assert list(outside(case(calibrated()))) == []


def test_every_size_and_choice_beyond_is_named_with_its_range():
    wide = replace(FP32, sequence=256, microbatches=4)
    two = replace(FP32, microbatches=2)
    machine = calibrated(case(), case(recipe=two))
    assert list(outside(case(machine, wide, pinning="pageable"))) == [
        "256 tokens of a sequence (calibrated: 128)",
        "256 tokens of a lane (calibrated: 128)",
        "8 lanes (calibrated: 2 to 4)",
        "pinning pageable (calibrated: exact)",
    ]
    updated = replace(case(machine), plan=Plan(policy=Policy.HOST_UPDATE))
    assert list(outside(updated)) == ["update on host (calibrated: device)"]
    half = replace(FP32, compute_dtype=Dtype.BF16)
    assert "compute dtype bf16 (calibrated: fp32)" in extrapolations(case(machine, half))


def test_a_calibrated_machine_that_does_not_say_for_which_sizes_is_said_to():
    assert extrapolations(case()) == (UNSAID,)
    assert list(outside(replace(case(), machine=named("a100-pcie-80gb")))) == []


@given(sequences=st.lists(st.integers(1, 2048), min_size=1, max_size=5))
def test_ranges_only_grow(sequences: list[int]):
    cases = [case(recipe=replace(FP32, sequence=s)) for s in sequences]
    whole = seen(cases, "a test")
    before: Calibrated | None = None
    for one in cases:
        before = seen([one], "a test", before=before)
    assert before == whole
    own = dict(whole.ranges)
    assert own["sequence"] == Range(low=min(sequences), high=max(sequences))
    assert all(own[name].holds(value) for one in cases for name, value in sizes(one).items())


# How well it predicted


def test_a_hold_out_error_belongs_to_its_constants():
    machine = validated(calibrated_host())
    assert hold_out_words(machine) == (
        "3.4% mean, 12.7% worst, -0.6% signed; 90 % bands held 83% (n = 24, 2026-11-24)"
    )
    assert with_host_memory(machine, 2e9).hold_out == machine.validation
    slower = replace_all(machine, {"cpu.gap_s": 1e-3})
    assert slower.hold_out is None
    assert hold_out_words(slower) == (
        "not validated since its constants were changed (was on 2026-11-24)"
    )
    assert hold_out_words(named("a100-pcie-80gb")) == "not validated on real runs"


# The file


def test_both_sections_survive_the_round_trip():
    machine = validated(calibrated())
    assert load(dump(machine), where="again") == machine


def test_a_validation_is_written_into_the_text_that_is_there():
    text = "# mine\n" + dump(calibrated()).replace("[nvme]", "# not this\n[nvme]")
    machine = load(text, where="m.toml")
    for n in (8, 24):  # the second takes the place of the first
        found = validated(machine, n=n).validation
        assert found is not None
        text = with_validation(text, found)
        assert load(text, where="m.toml") == replace(machine, validation=found)
    assert text.startswith("# mine\n")
    assert text.count("[validation]") == 1


def test_a_text_that_only_looks_like_a_validation_stays():
    description = 'description = """of\n[validation]\nnothing\n"""'
    lines = dump(calibrated()).splitlines()
    old = next(line for line in lines if line.startswith("description"))
    text = "\n".join(lines).replace(old, description)
    found = validated(calibrated(), n=8).validation
    assert found is not None
    assert description in with_validation(text, found)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sequence = [128.0, 128.0]", "sequence = [2.0, 1.0]", "low <= high must hold; got 2 and"),
        ("sequence = [128.0, 128.0]", "sequence = 3", r"must be \[low, high\]; got 3"),
        ("sequence = [128.0, 128.0]", "length = [1, 2]", r"a key of \[calibrated\] must be one of"),
        ('noise = ["gaussian"]', 'noise = "gaussian"', "noise must be a list of words"),
        ("n = 24", "n = 0", "validation.n must be >= 1; got 0"),
        ("n = 24", "n = 2.5", "validation.n is of another type; got 2.5"),
        ("n = 24", "", r"\[validation\] must have n, mape, .*; amiss: 'n'"),
        ("mape = 0.034", "mape = nan", "validation.mape must be >= 0; got nan"),
        ('date = "2026-11-24"', 'date = ""', "validation.date must be a non-empty string"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, message: str):
    text = dump(validated(calibrated()))
    assert old in text
    with pytest.raises(ValueError, match=f"^m.toml: .*{message}"):
        load(text.replace(old, new), where="m.toml")


def test_plan_prints_both_beside_the_prediction(tmp_path: Path):
    file = tmp_path / "m.toml"
    file.write_text(dump(validated(calibrated())))
    fp32 = ("--storage-dtype", "fp32", "--wire-dtype", "fp32", "--compute-dtype", "fp32")
    words = ("--model", "opt-125m", "--machine", str(file), *fp32)
    screen = " ".join(call(plan, *words, "--sequence", "256", "--details").out.split())
    assert "hold-out error 3.4% mean, 12.7% worst, -0.6% signed; 90 % bands held 83%" in screen
    assert "256 tokens of a sequence (calibrated: 128)" in screen
    found = call(plan, *words, "--sequence", "128", "--json", "-").json
    assert found["hold_out_error"]["n"] == 24
    assert found["extrapolated"] == []
