"""Nodes: several devices in one computer, what they share, and the [node] part of a file."""

import dataclasses
import re

import pytest

from tests.zo2sim.machines import topologies
from zo2sim.machines import nodes, topology
from zo2sim.machines.file import dump, load, named, resolve, with_topology
from zo2sim.machines.machine import Machine
from zo2sim.machines.node import Node
from zo2sim.machines.what_if import replace


def node_of(name: str) -> Node:
    found = named(name).node
    assert found is not None
    return found


A100 = node_of("8x-a100")
TEXT = dump(named("8x-a100"))


# The catalogue


@pytest.mark.parametrize("name", nodes.names())
def test_a_node_survives_the_round_trip_and_sources_every_number(name: str):
    machine = named(name)
    assert machine.name == name
    assert load(dump(machine), where="again") == machine
    rates = {k: q for k, q in machine.quantities.items() if k.startswith("node.")}
    assert len(rates) >= 8
    assert all(len(q.source) > 10 for q in rates.values())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("2x-rtx-3090", "2 devices, 1 socket, NVLink"),
        ("4x-rtx-4090", "4 devices, 1 socket, peers through the host"),
        ("8x-rtx-4090", "8 devices, 2 sockets, peers through the host"),
        ("8x-l40s", "8 devices, 2 sockets, peers through the host"),
        ("8x-a100", "8 devices behind 4 uplinks, 2 sockets, NVLink"),
        ("8x-h100", "8 devices, 2 sockets, NVLink"),
        ("16x-v100", "16 devices behind 4 uplinks, 2 sockets, NVLink"),
    ],
)
def test_the_catalogue_has_the_boxes_that_people_own(name: str, shape: str):
    assert node_of(name).shape == shape


def test_one_device_of_a_node_is_the_card_s_own_machine():
    alone, several = named("a100-sxm-80gb"), named("8x-a100")
    assert (several.device, several.link) == (alone.device, alone.link)
    assert dataclasses.replace(several.host, memory_bytes=alone.host.memory_bytes) == alone.host
    assert alone.node is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("4x-rtx-4090", "4x-rtx-4090"),
        ("4x RTX 4090", "4x-rtx-4090"),
        ("4 x rtx-4090-24gb", "4x-rtx-4090"),
        ("8xH100", "8x-h100"),
        ("8x a100 SXM 80GB", "8x-a100"),
        ("2x3090", "2x-rtx-3090"),
        ("h100-sxm", "h100-sxm-80gb"),
        ("L40S", "l40s-48gb"),
    ],
)
def test_a_node_is_spelled_as_people_write_it(text: str, name: str):
    assert resolve(text).name == name


@pytest.mark.parametrize(
    ("text", "meant"), [("8x l40", "8x-l40s?"), ("9x-rtx-4090", "8x-rtx-4090, 4x-rtx-4090")]
)
def test_a_node_that_is_none_names_what_may_be_meant(text: str, meant: str):
    with pytest.raises(ValueError, match=f"did you mean {re.escape(meant)}"):
        resolve(text)


# What devices share


def test_where_a_device_is():
    assert [A100.uplink_of(d) for d in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [A100.socket_of(d) for d in range(8)] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert len({node_of("8x-h100").uplink_of(d) for d in range(8)}) == 8


def test_how_bytes_get_from_device_to_device():
    bridged = with_topology(
        named("rtx-3090-24gb"), topology.read(topologies.BRIDGED_PAIRS), "rtx-3090-24gb"
    ).node
    assert bridged is not None
    assert [bridged.route(0, other) for other in (1, 2, 3)] == ["host", "nvlink", "host"]
    assert bridged.peer_bytes_per_s(0, 2).value == 46e9
    assert bridged.peer_bytes_per_s(0, 1).value == 20e9
    straight = dataclasses.replace(node_of("4x-rtx-4090"), p2p_bytes_per_s=A100.hop_bytes_per_s)
    assert straight.route(0, 3) == "p2p"
    assert straight.shape.endswith("peers over PCIe")


def test_a_gather_is_as_fast_as_it_was_measured_and_lies_between_elsewhere():
    l40s = node_of("8x-l40s")
    assert [l40s.gather_bytes_per_s(n) for n in (2, 4, 8)] == [39e9, 6.3e9, 1.34e9]
    between = l40s.gather_bytes_per_s(6)
    assert between is not None
    assert 1.34e9 < between < 6.3e9
    assert node_of("4x-rtx-4090").gather_bytes_per_s(4) is None


def test_a_card_whose_nvlink_nobody_measured_has_what_its_bonds_carry():
    machine = with_topology(
        named("a100-sxm-40gb"), topology.read(topologies.FOUR_A100), "a100-sxm-40gb"
    )
    assert machine.node is not None
    rate = machine.node.nvlink_bytes_per_s
    assert rate is not None
    assert (rate.value, rate.provenance) == (80e9, "assumed")


def test_a_number_of_a_node_is_changed_like_any_other():
    slower = replace(named("8x-a100"), "node.uplink_h2d_gb_per_s", 20.0)
    assert slower.node is not None
    assert slower.node.uplink_h2d_bytes_per_s.value == 20e9
    with pytest.raises(ValueError, match=r"needs a machine with \[node\]; a100-sxm-80gb has none"):
        replace(named("a100-sxm-80gb"), "node.uplink_h2d_gb_per_s", 20.0)


def test_fewer_devices_are_taken_behind_as_many_uplinks_and_sockets_as_there_are():
    assert A100.spread(4) == (0, 2, 4, 6)
    assert A100.spread(5) == (0, 1, 2, 4, 6)
    assert node_of("8x-rtx-4090").spread(2) == (0, 4)
    four = A100.of(4)
    assert four.shape == "4 devices, 2 sockets, NVLink"
    assert (four.uplinks, four.sockets) == (((0,), (1,), (2,), (3,)), ((0, 1), (2, 3)))
    assert A100.of(8) is A100
    assert A100.of(5).uplinks == ((0, 1), (2,), (3,), (4,))


# What is wrong with a file


def changed(key: str, line: str) -> Machine:
    head, node, tail = TEXT.partition("[node]")
    text, count = re.subn(rf"(?m)^{key} = .*$", lambda _: line, tail, count=1)
    assert count == 1, f"no line starts with {key}"
    return load(head + node + text, where="m.toml")


@pytest.mark.parametrize(
    ("key", "line", "message"),
    [
        (
            "devices",
            "devices = 1",
            "node.devices must be a whole number from 2 to 64; got 1; a machine",
        ),
        ("devices", "devices = true", "node.devices must be a whole number from 2 to 64; got True"),
        ("devices", "devices = 4", "node.uplinks must name devices 0 to 3; got 4"),
        (
            "uplinks",
            "uplinks = 4",
            "node.uplinks must be lists of devices, as [[0, 1], [2, 3]]; got 4",
        ),
        ("uplinks", "uplinks = [0, 1]", "node.uplinks must be lists of devices"),
        ("uplinks", "uplinks = [[]]", "node.uplinks must be lists of devices"),
        ("uplinks", "uplinks = [[0.5]]", "node.uplinks must be lists of devices"),
        (
            "uplinks",
            "uplinks = [[0, 1], [1, 2]]",
            "node.uplinks must list each of the 8 devices once; got [0, 1, 1, 2]",
        ),
        ("sockets", "sockets = [[0, 8]]", "node.sockets must name devices 0 to 7; got 8"),
        ("sockets", "", "[node] must have sockets; it is missing"),
        ("sockets", "socket = [[0]]", "a key must be a known one; got 'node.socket'; closest: "),
        (
            "nvlink_bytes_per_s",
            "",
            "node.nvlinked needs node.nvlink_bytes_per_s; got lists of devices and no rate",
        ),
        (
            "uplink_both_h2d_bytes_per_s",
            'uplink_both_h2d_gb_per_s = { value = 30, provenance = "assumed", source = "a test" }',
            "node.uplink_both_h2d_bytes_per_s must not exceed node.uplink_h2d_bytes_per_s",
        ),
        (
            "far_ratio",
            'far_ratio = { value = 1.5, provenance = "assumed", source = "a test" }',
            "node.far_ratio must lie in [0.01, 1]; got 1.5",
        ),
    ],
)
def test_an_error_says_what_must_hold_and_what_arrived(key: str, line: str, message: str):
    with pytest.raises(ValueError, match=f"^m.toml: .*{re.escape(message)}"):
        changed(key, line)
