"""`verify`: prints a schedule, or proves it free of races."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import verify
from tests.commands import call
from tests.thorough import examples
from zo2sim.policies import build
from zo2sim.schedule.ops import Program, Schedule

RACE = """schedule broken steps=1
H0 h2d slot=0 reads host:0 writes slot:0
F0 compute reads slot:0 writes activations:0
"""


def test_a_sound_schedule_is_said_to_be_sound():
    outcome = call(verify, "--blocks", "3")
    assert outcome.code == 0
    assert outcome.out.startswith("zo2/period: ")
    assert "no hazard" in outcome.out


@pytest.mark.parametrize("policy", ["resident", "naive", "dual", "zo2", "host_update"])
def test_every_policy_passes_as_json(policy: str):
    answer = call(verify, "--policy", policy, "--json", "-").json
    assert (answer["schema"], answer["hazards"]) == (1, [])
    assert answer["schedule"] == f"{policy}/period"


def test_show_prints_names_and_edges():
    shown = call(verify, "--blocks", "2", "--num-slots", "1", "--show").out
    assert "H0" in shown
    assert " | " in shown


def test_the_text_form_can_be_checked_again(tmp_path: Path):
    file = tmp_path / "schedule.txt"
    file.write_text(call(verify, "--text").out)
    assert call(verify, "--file", str(file)).code == 0


def test_a_missing_edge_is_the_answer_no(tmp_path: Path):
    file = tmp_path / "broken.txt"
    file.write_text(RACE)
    outcome = call(verify, "--file", str(file))
    assert outcome.code == 3
    assert "slot:0" in outcome.out
    assert len(call(verify, "--file", str(file), "--json", "-").json["hazards"]) > 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--blocks", "0"), 2, "num_blocks must be >= 1; got 0"),
        (("--blocks", "1" + "0" * 30), 2, "--blocks times --write-back-every must be at most"),
        (("--write-back-every", "1" + "0" * 9), 2, "must be at most 10000; got 4 and 1000000000"),
        (("--policy", "naive", "--write-back-every", "2"), 2, "policy=naive: write_back_every"),
        (("--file", "absent.txt"), 1, "absent.txt"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], code: int, message: str):
    outcome = call(verify, *arguments)
    assert outcome.code == code
    assert message in outcome.complaint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must start with 'schedule NAME steps=K'; got an empty text"),
        (b"\xff\xfe", "must be text in UTF-8"),
        (b"schedule x steps=0\n", "must be 'schedule NAME steps=K'"),
        (b"schedule x steps=1\nQ0 h2d\n", "schedule.txt:2: must be 'NAME STREAM"),
        (b"schedule x steps=1\nH0 h2d after F9\n", "F9"),
    ],
)
def test_a_malformed_file_is_named(content: bytes, message: str, tmp_path: Path):
    file = tmp_path / "schedule.txt"
    file.write_bytes(content)
    outcome = call(verify, "--file", str(file))
    assert outcome.code == 2
    assert message in outcome.complaint


_WORDS = ("H0", "F0", "h2d", "compute", "slot=0", "slot=x", "reads", "writes", "after", "slot:0")


@settings(deadline=None, max_examples=examples(60))
@given(lines=st.lists(st.lists(st.sampled_from(_WORDS), max_size=6).map(" ".join), max_size=4))
def test_no_text_breaks_the_reader(lines: list[str], tmp_path_factory: pytest.TempPathFactory):
    file = tmp_path_factory.getbasetemp() / "fuzzed.txt"
    file.write_text("\n".join(["schedule x steps=1", *lines]))
    outcome = call(verify, "--file", str(file))
    assert outcome.code in (0, 3) or (outcome.code == 2 and outcome.complaint)


def test_an_operation_that_a_policy_leaves_out_is_the_answer_no(monkeypatch: pytest.MonkeyPatch):
    """The race verifier alone would not see it."""
    left_out = lambda *about: without("Utail.1", build(*about))  # noqa: E731
    monkeypatch.setattr("zo2sim.policies.proof.build", left_out)
    outcome = call(verify, "--policy", "dual", "--blocks", "2")
    assert outcome.code == 3
    assert "Ftail (compute, step 2) reads unit tail with 0 records" in outcome.out


def without(name: str, program: Program) -> Program:
    parts = {part: getattr(program, part) for part in ("prologue", "period")}
    return replace(program, **{part: _less(schedule, name) for part, schedule in parts.items()})


def _less(schedule: Schedule, name: str) -> Schedule:
    return replace(schedule, ops=tuple(op for op in schedule.ops if op.name != name))
