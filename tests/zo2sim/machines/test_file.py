"""Machine files: there and back, units in keys, and every way to get one wrong."""

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.thorough import examples
from zo2sim.machines.file import dump, load, named, names, resolve
from zo2sim.machines.quantity import Quantity

A100 = named("a100-pcie-80gb")
A100_TEXT = dump(A100)
SOURCED = 'provenance = "assumed", source = "a test"'


def edited(pattern: str, line: str, *, text: str = A100_TEXT) -> str:
    """The A100's file with the first line that starts with the pattern replaced."""
    changed, count = re.subn(rf"(?m)^{re.escape(pattern)}.*$", lambda _: line, text, count=1)
    assert count == 1, f"no line starts with {pattern}"
    return changed


def number(key: str, value: object) -> str:
    return f"{key} = {{ value = {value}, {SOURCED} }}"


def error(text: str) -> str:
    """The message that loading the text ends with."""
    with pytest.raises(ValueError) as caught:
        load(text, where="m.toml")
    return str(caught.value)


# There and back


@pytest.mark.parametrize("name", names())
def test_a_machine_survives_the_round_trip(name: str):
    assert load(dump(named(name)), where="again") == named(name)


def test_the_round_trip_keeps_intervals_and_awkward_strings():
    rate = Quantity(25.0e9, "fitted", 'a "quoted"\\ source\twith\x7f, 20 µs, 😀', 24.0e9, 26.0e9)
    link = dataclasses.replace(A100.link, h2d_bytes_per_s=rate)
    machine = dataclasses.replace(A100, link=link, nvme=None)
    assert load(dump(machine), where="again") == machine


# Units and spellings


@pytest.mark.parametrize(
    ("start", "line", "key", "value"),
    [
        ("h2d_bytes_per_s", number("h2d_gb_per_s", 26), "link.h2d_bytes_per_s", 26e9),
        ("h2d_bytes_per_s", number("h2d_gib_per_s", 32), "link.h2d_bytes_per_s", 32 * 2.0**30),
        ("memory_bytes =", number("memory_gib", 40), "device.memory_bytes", 40 * 2.0**30),
        ("launch_s", number("launch_us", 4.1), "device.launch_s", 4.1e-6),
        ("fsync_s", number("fsync_ms", 7), "host.fsync_s", 7e-3),
        ("capacity_bytes", number("capacity_tb", 2), "nvme.capacity_bytes", 2e12),
        ("bf16_flops_per_s", number("tflops_per_s.bf16", 9), "device.bf16_flops_per_s", 9e12),
        ("bf16_flops_per_s", number("bf16_tflops_per_s", 9), "device.bf16_flops_per_s", 9e12),
    ],
)
def test_a_key_may_carry_another_unit(start: str, line: str, key: str, value: float):
    assert load(edited(start, line), where="m.toml").quantities[key].value == value


def test_an_interval_is_in_the_unit_of_its_key():
    line = f"h2d_gb_per_s = {{ value = 26, low = 25.5, high = 27, {SOURCED} }}"
    rate = load(edited("h2d_bytes_per_s", line), where="m.toml").link.h2d_bytes_per_s
    assert (rate.low, rate.value, rate.high) == (25.5e9, 26e9, 27e9)


# What is wrong with a file


@pytest.mark.parametrize(
    ("start", "line", "message"),
    [
        (
            "h2d_bytes_per_s",
            number("h2d_bytes_per_s", 25),
            "link.h2d_bytes_per_s must lie in [1e6, 1e13] B/s; got 25: "
            "is the unit GB/s? use h2d_gb_per_s",
        ),
        (
            "latency_s",
            number("latency_s", 10),
            "link.latency_s must lie in [1e-9, 0.1] s; got 10: is the unit us? use latency_us",
        ),
        (
            "memory_bytes =",
            number("memory_bytes", 81920),
            "device.memory_bytes must lie in [1e6, 1e13] B; got 81920: "
            "is the unit MiB? use memory_mib",
        ),
        (
            "bf16_flops_per_s",
            number("bf16_flops_per_s", 312),
            "device.bf16_flops_per_s must lie in [1e8, 1e17] FLOP/s; got 312: "
            "is the unit TFLOP/s? use bf16_tflops_per_s",
        ),
        (
            "num_sms",
            number("num_sms", 1e6),
            "device.num_sms must lie in [1, 10000]; got 1e6",
        ),
        (
            "num_sms",
            number("num_sms", 107.5),
            "device.num_sms must be a whole number; got 107.5",
        ),
        (
            "both_h2d",
            number("both_h2d_gb_per_s", 26),
            "link.both_h2d_bytes_per_s must not exceed link.h2d_bytes_per_s (a direction is no "
            "faster with the other one busy); got 2.6e+10 and 2.55e+10 B/s",
        ),
        (
            "pageable_d2h",
            number("pageable_d2h_gb_per_s", 30),
            "link.pageable_d2h_bytes_per_s must not exceed link.d2h_bytes_per_s (no copy is faster "
            "than one from page-locked memory); got 3e+10 and 2.58e+10 B/s",
        ),
        (
            "staged_h2d",
            number("staged_h2d_gb_per_s", 30),
            "link.staged_h2d_bytes_per_s must not exceed link.h2d_bytes_per_s (no copy is faster "
            "than one from page-locked memory); got 3e+10 and 2.55e+10 B/s",
        ),
        ("fsync_s", number("fsync_s", 0), "host.fsync_s: value must be positive and finite; got 0"),
        (
            "fsync_s",
            number("fsync_s", -0.5),
            "host.fsync_s: value must be positive and finite; got -0.5",
        ),
        (
            "fsync_s",
            number("fsync_s", "nan"),
            "host.fsync_s: value must be positive and finite; got nan",
        ),
        (
            "fsync_s",
            number("fsync_s", "inf"),
            "host.fsync_s: value must be positive and finite; got inf",
        ),
        (
            "fsync_s",
            number("fsync_s", "1" + "0" * 400),
            "host.fsync_s: value must be positive and finite; got inf",
        ),
        ("fsync_s", number("fsync_s", "true"), "host.fsync_s: value must be a number; got True"),
        ("fsync_s", number("fsync_s", '"1"'), "host.fsync_s: value must be a number; got '1'"),
        (
            "fsync_s",
            "fsync_s = 0.001",
            "host.fsync_s must be a table { value, provenance, source }; got 0.001",
        ),
        (
            "fsync_s",
            "fsync_s = { value = 0.001, provenance = 'assumed' }",
            "host.fsync_s must have value, provenance and source; source is missing",
        ),
        (
            "fsync_s",
            "fsync_s = { value = 0.001, provenance = 'guessed', source = 'me' }",
            "host.fsync_s: provenance must be one of datasheet, measured, fitted, assumed; "
            "got 'guessed'",
        ),
        (
            "fsync_s",
            "fsync_s = { value = 0.001, provenance = 'assumed', source = ' ' }",
            "host.fsync_s: source must be a non-empty string; got ' '",
        ),
        (
            "fsync_s",
            f"fsync_s = {{ value = 1, low = 2, high = 3, {SOURCED} }}",
            "host.fsync_s: low <= value <= high must hold; got 2, 1, 3",
        ),
        (
            "fsync_s",
            f"fsync_s = {{ value = 1, when = 'today', {SOURCED} }}",
            "a key of host.fsync_s must be one of value, provenance, source, low, high; got 'when'",
        ),
        ("fsync_s", "", "[host] must have fsync_s; it is missing"),
        (
            "fsync_s",
            number("fsink_s", 1),
            "a key must be a known one; got 'host.fsink_s'; "
            "closest: host.fsync_s, host.fsync_us, host.fsync_ns",
        ),
        (
            "fsync_s",
            number("fsync_s", 1) + "\n" + number("fsync_ms", 1000),
            "host.fsync_s must be given once; got it again as host.fsync_ms",
        ),
        (
            "kernel_table",
            'kernel_table = "b200"',
            "device.kernel_table must be one of a100-sxm-80gb, h100-sxm-80gb, "
            "h200-sxm-141gb, l40s-48gb, rtx-4090-24gb, rtx-pro-6000-96gb; "
            "got 'b200'",
        ),
        (
            "class",
            'class = "pascal"',
            "machine.class must be one of volta, turing, ampere, ada, hopper, blackwell, host; "
            "got 'pascal'",
        ),
        ("class", "class = 8", "machine.class must be a non-empty string; got 8"),
        ("class", "", "machine.class must be a non-empty string; got ''"),
        (
            "class",
            'klass = "ada"',
            "a key of [machine] must be one of name, description, class; got 'klass'",
        ),
        (
            "[nvme]",
            "[ssd]",
            "a section must be one of machine, device, link, host, nvme, cpu, node, "
            "calibrated, validation; got 'ssd'",
        ),
        ("[machine]", "link = 3\n[machine]", "link must be a table; got 3"),
    ],
)
def test_a_wrong_file_is_refused(start: str, line: str, message: str):
    if line.startswith("link = 3"):
        text = f"link = 3\n{A100_TEXT.partition('[link]')[0]}"
    else:
        text = edited(start, line)
    assert error(text) == f"m.toml: {message}"


def test_a_missing_section_is_named():
    without_host = re.sub(r"\[host\](.|\n)*?(?=\[nvme\])", "", A100_TEXT)
    assert error(without_host) == ("m.toml: a machine file must have a section [host]; it has none")


def test_a_machine_without_nvme_has_none():
    assert load(A100_TEXT.partition("[nvme]")[0], where="m.toml").nvme is None


@pytest.mark.parametrize("text", ["[machine", "a = " + "[" * 5000, "x = 'a\n'", "\x00", "a = 1.e"])
def test_unreadable_toml_is_one_line(text: str):
    message = error(text)
    assert message.startswith("m.toml: a machine file must be valid TOML; ")
    assert "\n" not in message


# Finding one


def test_resolve_takes_a_name_or_a_path(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(A100_TEXT.replace("a100-pcie-80gb", "mine"), encoding="utf-8")
    assert resolve("a100-pcie-80gb") is A100
    assert resolve(path).name == resolve(str(path)).name == "mine"


@pytest.mark.parametrize("name", ["a100", "", "nul\0byte", "x" * 5000])
def test_an_unknown_machine_says_where_the_catalogue_is(name: str):
    with pytest.raises(ValueError, match=r"must be one of the catalogue \(zo2sim machines lists"):
        resolve(name)
    with pytest.raises(ValueError, match=r"must be one of a10-24gb, .*v100-sxm-32gb"):
        named(name)


def test_a_file_that_is_not_text_is_named(tmp_path: Path):
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"binary\.toml"):
        resolve(path)


# Anything at all

SCALARS = ["''", "0", "-1", "nan", "inf", "true", "1e400", "1979-05-27T07:32:00Z", '"\\u0000"']
TABLES = ["{}", "[]", "[[x]]", "{value=[]}", "{value={}}", "{value=1,provenance=[],source={}}"]
LITERALS = [*SCALARS, *TABLES, "link", "[link]", "value", "0x" + "f" * 6000]
FRAGMENTS = st.text(max_size=20) | st.sampled_from(LITERALS)


def only_value_error(text: str) -> None:
    """A machine that survives the round trip, or a one-line ``ValueError``."""
    try:
        machine = load(text, where="m.toml")
    except ValueError as refusal:
        message = str(refusal)
    else:
        message = "loaded"
        assert load(dump(machine), where="again") == machine
    assert len(message.splitlines()) == 1


@given(st.text(max_size=200))
def test_any_text_loads_or_is_refused(text: str):
    only_value_error(text)


@settings(max_examples=examples(200), deadline=None)
@given(line=st.integers(0, A100_TEXT.count("\n")), fragment=FRAGMENTS, where=st.integers(0, 3))
def test_any_damage_to_a_file_loads_or_is_refused(line: int, fragment: str, where: int):
    lines = A100_TEXT.split("\n")
    key, _, value = lines[line].partition(" = ")
    lines[line] = (
        f"{key} = {fragment}",
        f"{fragment} = {value}",
        fragment,
        re.sub(r"value = \S+,", lambda _: f"value = {fragment},", lines[line]),
    )[where]
    only_value_error("\n".join(lines))
