"""What every command shares: exit codes, one line per error, JSON that is only JSON."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import bench, fit_memory, plan, sweep, verify
from experiments.case.sizes import parse_bytes, show_bytes, show_seconds, show_times
from experiments.cli import Answer, finish, run, write_file, write_json
from tests import ROOT
from tests.commands import call
from tests.thorough import examples
from zo2sim.memory.account import DoesNotFit

SMALL = ("--model", "opt-125m")


def shell(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, at a terminal of 80 columns."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# In a process of its own


def test_done_is_exit_code_0_and_json_is_all_of_stdout():
    done = shell("experiments.plan", *SMALL, "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["schema"] == 1


def test_an_error_is_one_line_where_the_terminal_has_no_box_characters():
    done = shell("experiments.plan", "--batch", "x", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: Error parsing --batch: invalid literal for int() with base 10: 'x'\n"
    )


def test_a_reader_that_goes_away_is_no_error():
    pipe = subprocess.Popen(
        [sys.executable, "-m", "experiments.verify", "--blocks", "400", "--text"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert pipe.stdout is not None
    assert pipe.stderr is not None
    pipe.stdout.readline()
    pipe.stdout.close()
    assert (pipe.stderr.read(), pipe.wait(timeout=60)) == (b"", 0)
    pipe.stderr.close()


# Answers and usage


def test_what_does_not_fit_is_the_answer_no(capsys: pytest.CaptureFixture[str]):
    def refuses(_: object) -> int:
        raise DoesNotFit("it needs 2 B")

    assert run(refuses, plan.Config, []) == 3
    assert capsys.readouterr().err == "error: it needs 2 B\n"


@pytest.mark.parametrize("command", [plan, sweep, verify, bench, fit_memory])
def test_every_command_refuses_an_unknown_flag(command):
    outcome = call(command, "--nope")
    assert outcome.code == 2
    assert "--nope" in outcome.complaint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch", "0"), "batch must be a whole number >= 1; got 0"),
        (("--batch", "1e400"), "invalid literal for int() with base 10: '1e400'"),
        (("--num-slots", "-1"), "num_slots must be a whole number >= 1; got -1"),
        (("--scratch-copies", "3"), "scratch_copies must be 1 or 2; got 3"),
        (("--policy", "x"), "Expected one of ('resident', 'naive', 'dual', 'zo2'"),
        (("--plan", "best.tml"), "a plan must be a file, as plan --write-plan writes it"),
        (("--bacth", "3"), "Unrecognized options: --bacth, 3; did you mean --batch?"),
        (("--qqqq",), "Unrecognized options: --qqqq; "),
        (("--json", ""), "--json must name a file, or be - for stdout"),
        (("--resident-blocks", "13"), "at most the model's 12 blocks; got 13"),
        (("--compute-dtype", "fp8"), "compute_dtype must be fp32, fp16 or bf16"),
        (("--write-back-every", "1000000"), "write_back_every must be at most 64"),
        (("--batch", "1" + "0" * 300), "an operation must take less than 1e+100"),
        (("--microbatches", "1" + "0" * 400), "numbers must stay below 1e308"),
        (("--trainable", "lora:1" + "0" * 400), "must"),
        (("--batch", "9" * 5000), "a word must have at most 4096 letters; one has 5000"),
        (("--wire-dtype", "fp8"), "use policy=host_update"),
        (("--machine", "this-host", "--tier", "nvme"), "needs an [nvme] section"),
    ],
)
def test_wrong_usage_is_said_in_one_line(arguments: tuple[str, ...], message: str):
    outcome = call(plan, *SMALL, *arguments)
    assert outcome.code == 2
    assert message in outcome.complaint


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--machine", "rtx-4090"), "rtx-4090-24gb, rtx-4090-24gb-desktop or rtx-4090-laptop-16gb"),
        (("--machine", "4090"), "rtx-4090-24gb, rtx-4090-24gb-desktop or rtx-4090-laptop-16gb"),
        (("--machine", "A100"), "a100-pcie-40gb, a100-pcie-80gb, a100-sxm-40gb or a100-sxm-80gb"),
        (("--model", "13b"), "opt-13b or llama-2-13b"),
        (("--device-memory", "24"), "24GB or 24GiB"),
    ],
)
def test_an_error_says_what_may_be_meant(arguments: tuple[str, ...], hint: str):
    outcome = call(plan, *SMALL, *arguments)
    assert outcome.code == 2
    assert f"; did you mean {hint}?" in outcome.complaint


def test_what_has_one_reading_is_read():
    flags = ("--model", "OPT_125M", "--machine", "NVIDIA RTX 4080", "--device-memory", "16gb")
    exact = ("--model", "opt-125m", "--machine", "rtx-4080-16gb", "--device-memory", "16GB")
    assert call(plan, *flags, "--json", "-").json == call(plan, *exact, "--json", "-").json


def test_a_large_number_is_predicted_as_any_other():
    assert call(plan, *SMALL, "--batch", str(10**30), "--json", "-").json["fits"] is False


@settings(deadline=None, max_examples=examples(60))
@given(text=st.text(st.characters(codec="utf-8"), max_size=12))
def test_no_text_breaks_a_size(text: str):
    outcome = call(plan, *SMALL, f"--device-memory={text}", "--json", "-")
    assert outcome.code in (0, 3) or (outcome.code == 2 and outcome.complaint)


@settings(deadline=None, max_examples=examples(40))
@given(
    flag=st.sampled_from(("model", "machine", "batch", "trainable", "noise", "tier", "policy")),
    text=st.text(st.characters(codec="utf-8"), max_size=12),
)
def test_no_text_breaks_a_flag(flag: str, text: str):
    outcome = call(plan, *SMALL, f"--{flag}={text}", "--json", "-")
    assert outcome.code in (0, 3) or (outcome.code == 2 and outcome.complaint)


# Files


@pytest.mark.parametrize("flag", ["--model", "--machine"])
def test_a_missing_file_is_wrong_usage(flag: str, tmp_path: Path):
    outcome = call(plan, flag, str(tmp_path / "absent.toml"))
    assert outcome.code == 2
    assert "absent.toml" in outcome.complaint


def test_a_file_that_cannot_be_written_is_a_failure(tmp_path: Path):
    outcome = call(plan, *SMALL, "--json", str(tmp_path))
    assert outcome.code == 1
    assert str(tmp_path) in outcome.complaint
    assert list(tmp_path.parent.glob("*.partial")) == []


def test_a_file_is_whole_or_absent(tmp_path: Path):
    write_file(tmp_path / "new" / "file", b"text")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file"]
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_file(tmp_path / "file", b"text")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_link_that_lies_beside_a_file_is_not_followed(tmp_path: Path):
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    (tmp_path / ".file.partial").symlink_to(theirs)
    (tmp_path / "file").symlink_to(theirs)
    write_file(tmp_path / "file", b"text")
    assert theirs.read_bytes() == b"theirs"
    assert (tmp_path / "file").read_bytes() == b"text"


def test_two_writers_of_one_file_leave_the_whole_text_of_one(tmp_path: Path):
    """A third one reads all the while."""
    path, texts = tmp_path / "file", {bytes([65 + n]) * 300_000 for n in range(2)}
    write_file(path, min(texts))
    with ThreadPoolExecutor() as pool:
        written = [pool.submit(write_file, path, text) for _ in range(200) for text in texts]
        while not all(one.done() for one in written):
            assert path.read_bytes() in texts
        assert [one.result() for one in written] == [None] * 400
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_json_has_a_schema_and_no_number_that_json_lacks(tmp_path: Path):
    write_json(str(tmp_path / "a.json"), {"x": 1.5})
    assert json.loads((tmp_path / "a.json").read_text()) == {"schema": 1, "x": 1.5}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(str(tmp_path / "b.json"), {"x": float("nan")})
    assert not (tmp_path / "b.json").exists()


# Answers


@pytest.mark.parametrize(
    ("answer", "code", "complaint"),
    [
        (Answer({"x": 1}, lambda: sys.stdout.write("words\n")), 0, ""),
        (Answer({"x": 1}, lambda: sys.stdout.write("words\n"), yes=False), 3, ""),
        (
            Answer({"x": 1}, lambda: sys.stdout.write("words\n"), complaints=["x is 1"]),
            3,
            "error: x is 1\n",
        ),
    ],
)
def test_an_answer_is_words_or_json_and_an_exit_code(
    answer: Answer, code: int, complaint: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    assert finish(answer, None) == code
    assert capsys.readouterr() == ("words\n", complaint)
    assert finish(answer, str(tmp_path / "a.json")) == code
    assert capsys.readouterr() == ("words\n", complaint)
    assert finish(answer, "-") == code
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"schema": 1, "x": 1}, complaint)
    assert (tmp_path / "a.json").read_text() == out


# Sizes


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("18GB", 18e9),
        ("18GiB", 18 * 2**30),
        (" 1.5 TB ", 1.5e12),
        ("18000000000", 18e9),
        ("7B", 7),
        ("18gb", 18e9),
        ("18 gib", 18 * 2**30),
        ("24_GB", 24e9),
        ("2KiB", 2048),
        ("3MB", 3e6),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, nbytes: float):
    assert parse_bytes(text, flag="--x") == nbytes


@pytest.mark.parametrize(
    "text", ["", "0", "0GB", "-1GB", "nan", "inf", "GB", "1XB", "1e9", "1GBit", "٣GB"]
)
def test_anything_else_is_no_size(text: str):
    with pytest.raises(ValueError, match="--x must be a size above 0 such as 18GB or 64GiB; got"):
        parse_bytes(text, flag="--x")


@pytest.mark.parametrize(("text", "hint"), [("24", "24GB or 24GiB"), ("18m", "18MB or 18MiB")])
def test_a_number_that_lacks_its_unit_is_no_size_and_both_readings_are_named(text: str, hint: str):
    with pytest.raises(ValueError, match=rf"got '{text}'; did you mean {hint}\?$"):
        parse_bytes(text, flag="--x")


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(3 * 2**30, "3.00 GiB"), (2**20, "1.0 MiB"), (1536, "1.5 KiB"), (64, "64 B")],
)
def test_sizes_are_shown_in_the_unit_that_suits(nbytes: float, text: str):
    assert show_bytes(nbytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.0, "0 us"), (2e-6, "2.00 us"), (0.0123, "12.3 ms"), (0.9996, "1.00 s")),
        *((21.8, "21.8 s"), (1200, "20.0 min"), (1e6, "16,700 min")),
    ],
)
def test_times_are_shown_in_the_unit_that_suits(seconds: float, text: str):
    assert show_seconds(seconds) == text


def test_times_of_a_column_have_one_unit_and_as_many_digits():
    assert show_times((0.00073, 0.001, 0.0432)) == ("0.730 ms", "1.00 ms", "43.2 ms")
