"""`plan --compare`: first-order training beside the plan, on the screen and in JSON."""

import re
from pathlib import Path
from typing import Any

import pytest

from experiments import plan
from tests.commands import call
from zo2sim.machines.file import dump, named

SMALL = ("opt-125m", "rtx-4090-24gb")


def compared(*arguments: str) -> list[dict[str, Any]]:
    return call(plan, *arguments, "--compare", "--json", "-").json["compared"]


def test_every_method_stands_beside_the_plan_with_its_memory_and_time():
    own, *others = compared(*SMALL)
    assert own["order"] == "zeroth"
    assert [row["training"] for row in others] == [
        "AdamW, all on the card",
        "as ZeRO-Offload",
        "as RoundPipe",
        "as ZeRO-Infinity",
        "as Fuyou",
    ]
    assert all(row["seconds_per_token"] == row["step_s"] / 2048 for row in (own, *others))
    assert all(row["host_bytes"] > own["host_bytes"] for row in others[1:3])


def test_as_many_tokens_are_in_a_step():
    assert [
        row["step_s"] / row["seconds_per_token"] for row in compared(*SMALL, "--batch", "3")
    ] == (pytest.approx([3 * 2048] * 6))


def test_the_screen_says_what_a_step_is_worth_and_is_80_columns_wide():
    screen = call(plan, *SMALL, "--compare").out
    assert max(map(len, screen.splitlines())) <= 80
    words = " ".join(screen.split())
    assert "20,000 steps of 16 examples" in words
    assert "625 steps of 8 examples: 64 times as many examples" in words
    assert "arXiv:2506.21833" in words


def test_what_does_not_fit_is_marked():
    outcome = call(plan, *SMALL, "--compare", "--host-memory", "2GB")
    (offload,) = (line for line in outcome.out.splitlines() if "ZeRO-Offload" in line)
    assert "2.7" in offload.split()
    assert any(word.endswith("!") for word in offload.split())
    assert offload.rstrip().endswith("no")


def test_a_machine_without_a_drive_says_what_it_cannot(tmp_path: Path):
    machine = tmp_path / "machine.toml"
    machine.write_text(re.sub(r"\[nvme\](.|\n)*?(?=^\[|\Z)", "", dump(named(SMALL[1])), flags=re.M))
    outcome = call(plan, SMALL[0], str(machine), "--compare")
    assert "as Fuyou: rtx-4090-24gb: method=fuyou keeps weights and states on NVMe" in " ".join(
        outcome.out.split()
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--trainable", "lora:8"), "--compare is about training every weight"),
        (("--work", "forward"), "with --work forward: what trains is compared"),
        (("--details",), "with --compare, which shows other things"),
        (("--tokens", "1e9"), "beside --tokens"),
    ],
)
def test_what_has_no_counterpart_is_refused(flags: tuple[str, ...], words: str):
    assert words in call(plan, *SMALL, "--compare", *flags).complaint
