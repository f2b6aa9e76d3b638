"""How devices are connected, read from what drivers print and the kernel shows."""

import re

import pytest

from tests.zo2sim.machines import topologies
from zo2sim.machines.topology import Topology, read, with_paths

PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7))
HALVES = ((0, 1, 2, 3), (4, 5, 6, 7))


def each(count: int) -> tuple[tuple[int, ...], ...]:
    return tuple((n,) for n in range(count))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            topologies.DESKTOP_PAIR,
            Topology(devices=2, uplinks=each(2), sockets=((0, 1),), nvlinked=(), bonds=0),
        ),
        (
            topologies.UNEVEN_SOCKETS,
            Topology(
                devices=5, uplinks=each(5), sockets=((0,), (1, 2, 3, 4)), nvlinked=(), bonds=0
            ),
        ),
        (
            topologies.BRIDGED_PAIRS,
            Topology(
                devices=4,
                uplinks=each(4),
                sockets=((0, 1, 2, 3),),
                nvlinked=((0, 2), (1, 3)),
                bonds=4,
            ),
        ),
        (
            topologies.FOUR_A100,
            Topology(
                devices=4,
                uplinks=each(4),
                sockets=((0, 1, 2, 3),),
                nvlinked=((0, 1, 2, 3),),
                bonds=4,
            ),
        ),
        (
            topologies.DGX_A100,
            Topology(
                devices=8,
                uplinks=PAIRS,
                sockets=PAIRS,  # four memory nodes a socket
                nvlinked=((0, 1, 2, 3, 4, 5, 6, 7),),
                bonds=12,
            ),
        ),
        (
            topologies.OWN_PORTS,
            Topology(
                devices=8,
                uplinks=each(8),
                sockets=HALVES,
                nvlinked=((0, 1, 2, 3, 4, 5, 6, 7),),
                bonds=18,
            ),
        ),
        (
            topologies.OLD_DRIVER,
            Topology(devices=8, uplinks=PAIRS, sockets=HALVES, nvlinked=(), bonds=0),
        ),
        (
            topologies.NO_NUMA,
            Topology(devices=2, uplinks=each(2), sockets=each(2), nvlinked=(), bonds=0),
        ),
    ],
    ids=["pair", "uneven", "bridged", "four", "dgx-a100", "own-ports", "old", "no-numa"],
)
def test_what_real_drivers_print(text: str, found: Topology):
    assert read(text) == found


def test_four_devices_behind_a_switch_are_known_by_their_network_cards():
    found = read(topologies.DGX2)
    assert found.uplinks == tuple(tuple(range(n, n + 4)) for n in (0, 4, 8, 12))
    assert (found.devices, found.bonds) == (16, 6)


def test_colours_of_a_terminal_are_no_part_of_the_table():
    text = re.sub(r"(?m)^\t(GPU0.*)$", "\t\x1b[4m\\1\x1b[0m", topologies.DESKTOP_PAIR)
    assert read(text) == read(topologies.DESKTOP_PAIR)


def test_peers_are_straight_where_every_pair_says_so():
    table = " \tGPU0\tGPU1\n GPU0\tX\t{0}\n GPU1\t{0}\tX\n\nLegend:\n  OK   = Status Ok\n"
    assert read(topologies.DESKTOP_PAIR, table.format("OK")).straight
    assert not read(topologies.DESKTOP_PAIR, table.format("GNS")).straight
    assert not read(topologies.DESKTOP_PAIR).straight


def test_the_kernel_knows_ports_that_nvlink_hides():
    """Two devices below one port of the host; both devices of the second port are far."""
    found = read(topologies.FOUR_A100)
    port = "/sys/devices/pci0000:{0}/0000:{0}:01.0/0000:{1}:00.0".format
    paths = [port("00", "02"), port("00", "03"), port("40", "42"), port("40", "43")]
    both = with_paths(found, paths, (0, 0, 1, 1))
    assert (both.uplinks, both.sockets) == (((0, 1), (2, 3)), ((0, 1), (2, 3)))
    assert both.nvlinked == found.nvlinked
    assert with_paths(found, paths, (-1, -1, -1, -1)).sockets == ((0, 1, 2, 3),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a topology must be what nvidia-smi topo -m prints; it has no GPU0"),
        ("No devices were found", "a topology must be what nvidia-smi topo -m prints"),
        (
            topologies.DESKTOP_PAIR.replace("GPU1\tPHB\t X ", "GPU1\tPHB"),
            "a topology's row must have 2 connections, as NV12, PIX, PXB, PHB, NODE or SYS; "
            "GPU1 has PHB 0-63",
        ),
        (
            topologies.DESKTOP_PAIR.replace("GPU1\tPHB\t X ", "\t"),
            "a topology's row must have 2 connections, as NV12, PIX, PXB, PHB, NODE or SYS; "
            "GPU1 has no row",
        ),
    ],
)
def test_what_is_no_topology(text: str, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(text)
