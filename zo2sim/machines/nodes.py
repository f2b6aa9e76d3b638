"""The nodes that come with the package: a card of the catalogue several times in one computer.

`data/machines/nodes.toml` holds how they are connected and what was measured between cards; links
and hosts are those of the card's own machine.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from zo2sim import toml
from zo2sim.machines import catalogue
from zo2sim.machines.topology import Topology
from zo2sim.spelling import reading

Table = dict[str, Any]

_TIMES = re.compile(r"^\s*([0-9]+)\s*[xX*]\s*-?\s*(?=[A-Za-z0-9])")
_WAYS = ("h2d", "d2h", "both_h2d", "both_d2h")
_UPLINK = "one port of the host for all behind it, as fast as the link of one card; "
_SOCKET = "one socket's; "
_STRAIGHT = "straight over PCIe, taken to be as fast as the link; "
_PER_BOND = 20e9
_BONDS = "{bonds} links of NVLink at 20 GB/s each way (their vendor in NVIDIA/nccl-tests issue 149)"


@cache
def names() -> tuple[str, ...]:
    """The nodes of the catalogue, as people say them: ``8x-a100``."""
    return tuple(sorted(_file()["nodes"]))


@cache
def of_card(card: str) -> tuple[str, ...]:
    """The nodes that have a card, by its name in the catalogue; those of few devices first."""
    own = (name for name in names() if _node(name)["card"] == card)
    return tuple(sorted(own, key=lambda name: sum(map(len, _node(name)["uplinks"]))))


def is_several(text: str) -> bool:
    """Whether a text begins with a number of cards: ``8x``."""
    return _TIMES.match(text) is not None


def reading_of(text: str) -> str | None:
    """The node that a text stands for, with the name of its card in full or as it is said."""
    if not is_several(text):
        return None
    text = _TIMES.sub(r"\1-x-", text)
    spelled = {f"{name.partition('x-')[0]}x-{_node(name)['card']}": name for name in names()}
    found = reading(text, names())
    full = reading(text, tuple(spelled))
    return found or (None if full is None else spelled[full])


def machine_table(name: str) -> Table:
    """A node of the catalogue as a machine file has it."""
    node = _node(name)
    machine = catalogue.machine_table(node["card"])
    count = sum(map(len, node["uplinks"]))
    own = {key: node[key] for key in ("uplinks", "sockets", "nvlinked") if key in node}
    return {
        **machine,
        "machine": {
            **machine["machine"],
            "name": name,
            "description": f"{count} x {node['words']}",
        },
        "host": {**_without_memory(machine["host"]), "memory_gib": node["memory_gib"]},
        "node": {
            "devices": count,
            **own,
            **_rates(machine, node["card"], nvlinked="nvlinked" in node),
        },
    }


def of_topology(found: Topology, machine: Table, card: str) -> Table:
    """``[node]`` of a computer that says how its devices are connected; rates are the catalogue's.

    ``machine`` is the table of the machine with one such device, ``card`` its name there.
    """
    rates = _rates(machine, card, nvlinked=bool(found.nvlinked))
    if found.straight:
        rates["p2p_bytes_per_s"] = _as(_STRAIGHT, machine["link"]["h2d_bytes_per_s"])
    if found.nvlinked and "nvlink_gb_per_s" not in rates:
        rate = {"value": found.bonds * _PER_BOND, "provenance": "assumed"}
        rates["nvlink_bytes_per_s"] = rate | {"source": _BONDS.format(bonds=found.bonds)}
    lists = {"uplinks": found.uplinks, "sockets": found.sockets, "nvlinked": found.nvlinked}
    return {"devices": found.devices, **lists, **rates}


def _rates(machine: Table, card: str, *, nvlinked: bool) -> Table:
    """Rates between host, sockets and devices of one kind."""
    link, known = machine["link"], _file()
    return {
        **{f"uplink_{way}_bytes_per_s": _as(_UPLINK, link[f"{way}_bytes_per_s"]) for way in _WAYS},
        **{key: _as(_SOCKET, rate) for key, rate in _dram(machine["host"]).items()},
        **known["common"],
        **_hop(link),
        **(known["nvlinks"].get(card, {}) if nvlinked else {}),
        **known["gathers"].get(card, {}),
    }


def _hop(link: Table) -> Table:
    """Through the host, by the class of links whose rate is nearest."""
    rate = _value(link["h2d_bytes_per_s"])
    peaks = {"pcie-3.0-x16": 12.3e9, "pcie-4.0-x16": 25e9, "pcie-5.0-x16": 53e9}
    near = min(peaks, key=lambda name: max(rate / peaks[name], peaks[name] / rate))
    return _file()["hops"][near]


def _dram(host: Table) -> Table:
    return {f"socket_{k}": v for k, v in host.items() if k.startswith("dram_")}


def _without_memory(host: Table) -> Table:
    return {key: item for key, item in host.items() if not key.startswith("memory_")}


def _as(words: str, quantity: Table) -> Table:
    return {**quantity, "provenance": "assumed", "source": words + quantity["source"]}


def _value(quantity: Mapping[str, Any]) -> float:
    return float(quantity["value"])


def _node(name: str) -> Table:
    return _file()["nodes"][name]


@cache
def _file() -> Table:
    text = files("zo2sim").joinpath("data/machines/nodes.toml").read_text(encoding="utf-8")
    return toml.parse(text, must="nodes.toml must be valid TOML")
