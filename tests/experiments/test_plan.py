"""`plan`: the answer as JSON and on an 80-column screen, published memory, and files as input."""

import json
import re
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import plan
from tests.calibrated import calibrated_host
from tests.commands import call
from tests.thorough import examples
from zo2sim.machines.file import dump, named
from zo2sim.predict.predict import MAX_WRITE_BACK_EVERY

GIB = 2**30
OPT_175B = ("--model", "opt-175b", "--machine", "rtx-4090-24gb", "--device-memory", "18GB")
SMALL = ("--model", "opt-125m")


def answer(*arguments: str) -> Any:
    return call(plan, *arguments, "--json", "-").json


# The answer


def test_opt_175b_is_planned_on_18_gb():
    outcome = call(plan, *OPT_175B, "--json", "-")
    assert outcome.code == 0
    assert outcome.json["fits"] is True
    assert outcome.json["device_bytes"] <= 18e9


def test_llama_3_70b_in_four_bits_is_planned_on_a_12_gb_card_and_64_gb():
    found = answer(
        *("--model", "llama-3-70b", "--machine", "rtx-3060-12gb", "--host-memory", "64GB"),
        *("--storage-dtype", "int4", "--trainable", "lora:16"),
    )
    assert found["fits"] is True
    assert found["step_s"] > 0
    assert found["host"]["streamed blocks, exact"] == pytest.approx(35.3e9, rel=1e-3)


def test_four_bits_without_adapters_are_refused():
    complaint = call(plan, *SMALL, "--storage-dtype", "int4").complaint
    assert "half a step; train adapters beside them (trainable=lora:R)" in complaint


def test_the_json_says_time_bound_memory_and_sources():
    found = answer(*SMALL)
    assert found["schema"] == 1
    assert found["lower_bound_s"] <= found["step_s"] * (1 + 1e-9)
    assert found["tokens_per_s"] == pytest.approx(2048 / found["step_s"])
    assert found["binding_resource"] in found["limits_s"]
    assert found["limits_s"][found["binding_resource"]] == found["lower_bound_s"]
    assert sorted(found["provenance"]) == ["assumed", "compute", "extrapolated", "link", "memory"]


@pytest.mark.parametrize("policy", ["resident", "naive", "dual", "zo2", "zo2_reference"])
def test_items_sum_to_the_totals(policy: str):
    found = answer(*SMALL, "--policy", policy)
    assert sum(found["device"].values()) == found["device_bytes"]
    assert sum(found["host"].values()) == found["host_bytes"]


@pytest.mark.parametrize(
    ("flag", "place"), [("--device-memory", "device"), ("--host-memory", "host")]
)
def test_what_does_not_fit_is_the_answer_no(flag: str, place: str):
    outcome = call(plan, *SMALL, flag, "1GB")
    assert outcome.code == 3
    assert outcome.err == ""
    assert outcome.out.startswith("opt-125m on a100-pcie-80gb, zo2: does not fit")
    assert re.search(rf"\n{place} +\S+ [\d.]+ of 0.9 GiB: [\d.]+ GiB missing", outcome.out)


def test_the_same_question_has_the_same_answer():
    assert answer(*SMALL) == answer(*SMALL)


def test_json_goes_to_a_file_beside_the_screen(tmp_path: Path):
    outcome = call(plan, *SMALL, "--json", str(tmp_path / "new" / "a.json"))
    assert outcome.out.startswith("opt-125m on a100-pcie-80gb, zo2: fits")
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == answer(*SMALL)


def test_a_long_period_is_refused_before_it_is_simulated():
    outcome = call(plan, *SMALL, "--write-back-every", str(MAX_WRITE_BACK_EVERY + 1))
    assert (outcome.code, "write_back_every" in outcome.complaint) == (2, True)


# The screen


@pytest.mark.parametrize(
    "arguments",
    [
        OPT_175B,
        (*SMALL, "--device-memory", "1GB"),
        ("--policy", "resident", "--host-memory", "1GB"),
        (*OPT_175B, "--details"),
        (*SMALL, "--machine", "all"),
    ],
)
def test_no_line_is_wider_than_the_screen(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    lines = call(plan, *arguments).out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if re.search(r"-0\.0%|nan|inf\b|None", line)]


@pytest.mark.parametrize(
    "arguments",
    [
        OPT_175B,
        ("--model", "opt-13b"),
        ("--policy", "resident", "--host-memory", "1GB"),
        ("--model", "opt-175b", "--tier", "nvme", "--device-memory", "8GB", "--host-memory", "1GB"),
        ("--work", "forward"),
    ],
)
def test_the_answer_fits_one_screen(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    """24 rows, with the line that was typed and the next prompt."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = call(plan, *arguments).out.splitlines()
    assert len(lines) <= 22
    topics = [line.split()[0] for line in lines if line[:1].strip()]
    expected = ["step", "tokens/s", "binds", "device", "host", "trust", "next"]
    if "forward" in arguments:  # after which nothing is searched
        expected = ["forward", *expected[1:-1]]
    assert [topic for topic in topics if topic in expected] == expected


def test_what_binds_is_said_in_plain_words():
    assert "\nbinds     the link, busy both ways" in call(plan, *OPT_175B).out


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (
            OPT_175B,
            "zo2sim tune --model opt-175b --machine rtx-4090-24gb --device-memory 18GB --free "
            "microbatches searches all plans; this is one of many, with 1 microbatch per step",
        ),
        (
            (*SMALL, "--batch", "2", "--microbatches", "4"),
            "zo2sim tune --model opt-125m --machine a100-pcie-80gb --batch 2 --free microbatches "
            "searches all plans; this is one of many, with 4 microbatches per step",
        ),
        (
            (*SMALL, "--device-memory", "1GB"),
            "zo2sim tune --model opt-125m --machine a100-pcie-80gb --device-memory 1GB "
            "looks for a plan that fits",
        ),
    ],
)
def test_the_next_step_is_a_command(arguments: tuple[str, ...], command: str):
    """Which a shell takes as it stands, over several lines."""
    screen = call(plan, *arguments).out.replace("\\\n", " ")
    assert f"next {command}" in " ".join(screen.split())


@pytest.mark.parametrize(
    ("model", "machine"), [("phi-4", "a100"), ("opt-125m", "RTX 4070"), ("opt-125m", "L40")]
)
def test_a_name_of_another_product_stands_for_none(model: str, machine: str):
    outcome = call(plan, "--model", model, "--machine", machine)
    assert outcome.code == 2
    assert "did you mean" in outcome.complaint


def test_a_traced_preset_has_its_id():
    found = call(plan, "--model", "meta-llama/Llama-3.1-8B", "--json", "-").json
    assert found["model"] == "llama-3.1-8b"


def test_a_sequence_that_nobody_chose_is_the_plan_s_everywhere(tmp_path: Path):
    file = str(tmp_path / "p.toml")
    short = ("--model", "gpt2", "--machine", "rtx-4090-24gb")
    assert call(plan, *short, "--write-plan", file).code == 0
    assert call(plan, *short, "--plan", file).code == 0
    assert "--sequence 1024" in call(plan, *short).out


def test_bars_show_what_is_used_of_a_memory():
    """Of 24 columns, 13.8 of 16.8 GiB are 20."""
    bars = re.findall(r"(\S+) [\d.]+ of [\d.]+ GiB", call(plan, *OPT_175B).out)
    assert [bar.count("\u2588") for bar in bars] == [20, 15]


def test_an_assumed_amount_of_host_memory_is_marked():
    assert "GiB (assumed, --host-memory)" in call(plan, *SMALL).out
    assert "assumed" not in call(plan, *SMALL, "--host-memory", "64GiB").out


def test_advice_is_predicted_to_help():
    out = call(plan, *OPT_175B).out
    gains = [float(gain) for gain in re.findall(r"--[\w-]+ .*? x ([\d.]+) ", out)]
    assert len(gains) == 2
    assert gains == sorted(gains, reverse=True)
    assert min(gains) > 1.02


def test_details_itemise_the_memory_and_name_the_sources():
    out = call(plan, *SMALL, "--details").out
    assert re.search(r"^device memory: needs [\d.]+ GiB of 80.0 GiB, fits$", out, re.MULTILINE)
    assert re.search(r"^ CUDA context +1.29 GiB", out, re.MULTILINE)
    assert re.search(r"^exposed copies +[\d.]+% of the step", out, re.MULTILINE)
    assert re.search(r"assumed +device\.", out)


# Every machine


def test_all_machines_are_ranked_those_that_fit_first():
    found = answer("--model", "opt-6.7b", "--machine", "all", "--policy", "resident")
    fits = [row["fits"] for row in found["machines"]]
    speeds = [row["tokens_per_s"] for row in found["machines"] if row["fits"]]
    assert len(fits) == 37
    assert fits == sorted(fits, reverse=True)
    assert speeds == sorted(speeds, reverse=True)
    assert found["fastest"] == found["machines"][0]["machine"]
    assert {*fits} == {True, False}
    alone = answer("--model", "opt-6.7b", "--machine", found["fastest"], "--policy", "resident")
    assert {"schema": 1, **found["machines"][0]} == alone


def test_a_card_that_lacks_the_format_has_its_reason():
    found = answer(*SMALL, "--machine", "all", "--compute-dtype", "bf16")
    reasons = {row["machine"]: row["reason"] for row in found["machines"] if "reason" in row}
    assert reasons["t4-16gb"] == "Tesla T4 lacks bf16 arithmetic; use fp16 or fp32"
    assert found["machines"][-1]["machine"] in reasons


def test_what_compares_machines_answers_nothing_else():
    outcome = call(plan, *SMALL, "--machine", "all", "--tokens", "1e9")
    assert (outcome.code, "compares machines" in outcome.complaint) == (2, True)


def test_names_with_markup_are_printed_as_they_are(tmp_path: Path):
    """Square brackets of a file are no commands to the terminal."""
    text = dump(named("l40s-48gb")).replace('name = "l40s-48gb"', 'name = "lab [/x] [red]"')
    text = text.replace('source = "', 'source = "[/y] ')
    file = tmp_path / "m.toml"
    file.write_text(text)
    out = call(plan, *SMALL, "--machine", str(file), "--details").out
    assert out.startswith("opt-125m on lab [/x] [red], zo2: fits")
    assert "[/y]" in out


@pytest.mark.parametrize(
    "flags",
    [
        ("--policy", "zo2_reference"),
        ("--noise", "torch"),
        ("--noise", "torch", "--perturbation", "in_place", "--policy", "resident"),
        ("--noise", "torch", "--trainable", "lora:4"),
    ],
)
def test_noise_that_no_calibration_measures_is_refused_on_a_calibrated_host(
    flags: tuple[str, ...], tmp_path: Path
):
    file = tmp_path / "host.toml"
    file.write_text(dump(calibrated_host()))
    dtypes = (f"--{what}-dtype=fp32" for what in ("storage", "wire", "compute"))
    complaint = call(plan, *SMALL, "--machine", str(file), *dtypes, *flags).complaint
    assert complaint.startswith("noise=torch, which policy=zo2_reference draws too, must not be")
    assert complaint.endswith("take one of those with another policy, or a machine without [cpu]")


# Published memory


@cache
def published(claim: str) -> dict[str, float]:
    """Bytes by model, the figure read as GiB."""
    text = files("zo2sim").joinpath("data/published.toml").read_text(encoding="utf-8")
    claims = {row["id"]: row["values"] for row in tomllib.loads(text)["claim"]}
    return {model: value * GIB for model, value in claims[claim].items()}


@pytest.mark.parametrize(
    ("claim", "policy", "metric", "tolerance"),
    [
        ("zo2-allocated-memory-fp16", "zo2_reference", "device_allocated_bytes", 0.07),
        ("zo2-nvml-memory", "zo2_reference", "device_nvml_bytes", 0.06),
        ("mezo-memory-fp16", "resident", "device_nvml_bytes", 0.06),
    ],
)
def test_published_memory_is_reproduced(claim: str, policy: str, metric: str, tolerance: float):
    rows = published(claim)
    assert len(rows) == (3 if policy == "resident" else 7)
    predicted = {m: answer("--model", m, "--policy", policy)[metric] for m in rows}
    assert predicted == pytest.approx(rows, rel=tolerance)


# Files as input

MODEL = {
    "model_type": "opt",
    "vocab_size": 512,
    "hidden_size": 64,
    "ffn_dim": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
}
MACHINE = dump(named("a100-pcie-80gb"))
AWKWARD = st.sampled_from([0, -1, 1.5, "12", None, [], {}, True, 10**30, float("nan"), 1e300])


def refused_or_answered(*arguments: str) -> None:
    outcome = call(plan, *arguments, "--json", "-")
    assert outcome.code in (0, 3) or (outcome.code == 2 and outcome.complaint)


def test_a_folder_with_a_config_is_a_model(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(MODEL))
    assert answer("--model", str(tmp_path))["model"] == tmp_path.name


@settings(deadline=None, max_examples=examples(40))
@given(key=st.sampled_from([*MODEL]), value=AWKWARD)
def test_no_value_breaks_a_model(key: str, value: object, tmp_path_factory: pytest.TempPathFactory):
    file = tmp_path_factory.mktemp("model") / "config.json"
    file.write_text(json.dumps(MODEL | {key: value}))
    refused_or_answered("--model", str(file))


@settings(deadline=None, max_examples=examples(40))
@given(
    line=st.integers(0, MACHINE.count("\n")),
    text=st.text(max_size=6),
    exponent=st.integers(-30, 400),
)
def test_no_line_breaks_a_machine(
    line: int, text: str, exponent: int, tmp_path_factory: pytest.TempPathFactory
):
    """One line loses its number's size, or its quotes, or everything."""
    lines = MACHINE.split("\n")
    lines[line] = re.sub(r"value = [^,]*", f"value = 1e{exponent}", lines[line]) + text
    file = tmp_path_factory.mktemp("machine") / "m.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    refused_or_answered(*SMALL, "--machine", str(file))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"{", b"[]", b"5", b"[" * 100_000])
@pytest.mark.parametrize("flag", ["--model", "--machine", "--plan"])
def test_a_malformed_file_is_named(flag: str, content: bytes, tmp_path: Path):
    file = tmp_path / "odd.json"
    file.write_bytes(content)
    outcome = call(plan, flag, str(file), "--json", "-")
    if (flag, content) != ("--plan", b""):  # an empty plan file leaves every default
        assert outcome.code == 2
        assert "odd" in outcome.complaint


def test_a_plan_file_stands_for_the_flags(tmp_path: Path):
    file = tmp_path / "plan.toml"
    chosen = ("--num-slots", "3", "--microbatches", "4")
    assert call(plan, *SMALL, *chosen, "--write-plan", str(file)).code == 0
    assert answer(*SMALL, "--plan", str(file)) == answer(*SMALL, *chosen)


def test_a_plan_file_and_the_flags_of_a_plan_exclude_each_other(tmp_path: Path):
    file = tmp_path / "plan.toml"
    file.write_text("")
    outcome = call(plan, *SMALL, "--plan", str(file), "--num-slots", "3")
    assert outcome.code == 2
    assert "not both" in outcome.complaint
