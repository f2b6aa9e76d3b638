"""`models` and `machines`: what is known by name, and a machine file for this computer."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import machines, models, plan
from experiments.case import here
from experiments.case.here import Card, Here, read_card
from tests.commands import call
from tests.zo2sim.machines import topologies
from zo2sim.machines import nodes, topology
from zo2sim.machines.file import dump, load, named, names
from zo2sim.models import presets

SMI = "NVIDIA GeForce RTX 4090, 24564, 8.9\nNVIDIA A10, 23028, 8.6\n"
COMPUTER = Here(num_cores=12, memory_bytes=64e9, card=read_card(SMI))


@pytest.mark.parametrize(("command", "known"), [(models, presets.names()), (machines, names())])
def test_everything_known_has_a_row_on_80_columns(
    command, known: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    lines = call(command).out.splitlines()
    rows = [line.split()[0] for line in lines[1 : len(known) + 1]]
    assert rows == [*known]
    assert max(map(len, lines)) <= 80


def test_a_machine_s_row_marks_what_is_assumed():
    row = next(line for line in call(machines).out.splitlines() if " l40s-48gb " in line)
    assert re.fullmatch(r" l40s-48gb +45 +1024\? +[\d.]+ +[\d.]+ +kernels *", row)


def test_the_json_has_sizes_and_provenance():
    found = {row["name"]: row for row in call(machines, "--json", "-").json["machines"]}
    assert found["l40s-48gb"]["device_bytes"] == named("l40s-48gb").device.memory_bytes.value
    assert found["l40s-48gb"]["provenance"]["host.memory_bytes"] == "assumed"
    known = {row["name"]: row for row in call(models, "--json", "-").json["models"]}
    assert known["opt-13b"]["elements"] == presets.preset("opt-13b").elements
    assert known["opt-13b"]["id"] == "facebook/opt-13b"


# This computer


def test_a_file_for_this_computer_is_one_that_plan_reads(tmp_path: Path):
    file = tmp_path / "here.toml"
    found = call(machines, "--here", "--out", str(file), "--json", "-").json
    machine = load(file.read_text(), where="here.toml")
    assert found["machine_file"] == str(file)
    assert machine.host.memory_bytes.value <= os.sysconf("SC_PAGE_SIZE") * os.sysconf(
        "SC_PHYS_PAGES"
    )
    assert 1 <= machine.host.num_cores.value <= (os.cpu_count() or 1)
    assert machine.host.memory_bytes.provenance == "measured"
    assert call(plan, "opt-125m", str(file)).code in (0, 3)


def test_a_card_stands_on_the_machine_that_is_most_like_it():
    machine = COMPUTER.machine("told")
    base = named("rtx-4090-24gb")
    assert COMPUTER.base.device.name == base.device.name
    assert machine.name == "nvidia-geforce-rtx-4090"
    assert machine.architecture == "ada"
    assert machine.device.memory_bytes.value == 24564 * 2**20
    assert (machine.host.memory_bytes.value, machine.host.num_cores.value) == (64e9, 12)
    assert machine.link == COMPUTER.base.link
    assert {k for k, q in machine.quantities.items() if q.source == "told"} == {
        "device.memory_bytes",
        "host.memory_bytes",
        "host.num_cores",
    }


def test_without_a_card_the_cores_are_the_device():
    machine = Here(num_cores=3, memory_bytes=8e9, card=None).machine("told")
    assert (machine.name, machine.host.num_cores.value) == ("this-host", 3)


def test_a_driver_s_words_are_read():
    assert read_card("Tesla T4, 15360, 7.5\n") == Card(
        name="Tesla T4", memory_bytes=15360 * 2**20, capability=(7, 5)
    )


@pytest.mark.parametrize("said", ["", "No devices were found", "a, [N/A], 8.9", "exit 9"])
def test_a_driver_that_tells_nothing_is_no_card(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{said if said.startswith('exit') else f'echo {said!r}'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Here.read().card is None


def test_a_card_is_found_through_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<END\n{SMI}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Here.read().card == COMPUTER.card
    out = call(machines, "--here", "--out", str(tmp_path / "m.toml")).out
    assert "NVIDIA GeForce RTX 4090" in out
    assert "zo2sim calibrate --backend cuda measures the rates" in out


def test_cores_are_counted_once_and_a_container_s_limit_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    pairs = [(0, 0), (0, 0), (0, 1), (1, 0)]
    cpuinfo, limit = tmp_path / "cpuinfo", tmp_path / "memory.max"
    cpuinfo.write_text("".join(f"physical id\t: {s}\ncore id\t\t: {c}\n\n" for s, c in pairs))
    limit.write_text("1000000\n")
    assert here._cores(cpuinfo) == 3
    assert here._memory_bytes(limit) == 1e6
    assert here._cores(tmp_path / "none") == 8
    limit.write_text("max\n")
    assert here._memory_bytes(limit) == here._memory_bytes(tmp_path / "none")


def test_a_file_that_is_there_is_left_alone(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text("mine")
    outcome = call(machines, "--here", "--out", str(file))
    assert (outcome.code, "is there already" in outcome.complaint) == (2, True)
    assert file.read_text() == "mine"
    assert call(machines, "--out", str(tmp_path / "x")).code == 2


# Several cards


def test_several_cards_of_a_kind_are_a_node():
    found = topology.read(topologies.DGX_A100)
    several = replace(COMPUTER, topology=found)
    node = several.machine("a test").node
    assert node is not None
    assert node.shape == "8 devices behind 4 uplinks, 4 sockets, NVLink"
    assert several.machine("a test").device.name == "NVIDIA GeForce RTX 4090"
    assert COMPUTER.machine("a test").node is None
    assert load(dump(several.machine("a test")), where="here.toml").node == node


def test_the_bus_tells_what_nvlink_hides(tmp_path: Path):
    """Two cards below one port of the host, near the second memory."""
    found = topology.read(topologies.FOUR_A100)
    places = [f"00000000:{n}0:00.0" for n in "1234"]
    for n, port in zip("1234", ("a", "a", "b", "c"), strict=True):
        card = tmp_path / "devices" / "pci0000:00" / port / f"card{n}"
        card.mkdir(parents=True)
        (card / "numa_node").write_text("1\n" if n == "1" else "0\n")
        (tmp_path / f"0000:{n}0:00.0").symlink_to(card)
    told = here.on_bus(found, places, tmp_path)
    assert told.uplinks == ((0, 1), (2,), (3,))
    assert told.sockets == ((0,), (1, 2, 3))
    assert here.on_bus(found, places[:3], tmp_path) == found
    assert here.on_bus(found, places, tmp_path / "nowhere") == found


def test_the_table_of_nodes_stands_below_the_machines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = call(machines).out.splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if " 8x-a100 " in line)
    assert " ".join(row.split()) == "8x-a100 2048 8 devices behind 4 uplinks, 2 sockets, NVLink"
    found = call(machines, "--json", "-").json["nodes"]
    assert [node["name"] for node in found] == [*nodes.names()]
    assert found[0]["devices"] == 16
