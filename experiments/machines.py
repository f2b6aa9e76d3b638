"""The machines that are known by name, and a machine file for this computer.

python -m experiments.machines
python -m experiments.machines --here --out machine.toml
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.case.here import Here
from experiments.case.sizes import show_bytes
from experiments.cli import Answer, finish, run, write_file
from experiments.entry.flags import refuse
from experiments.screen import headed, left, right
from zo2sim.machines import nodes
from zo2sim.machines.catalogue import GEMM
from zo2sim.machines.file import THIS_HOST, dump, named, names
from zo2sim.machines.machine import Machine
from zo2sim.machines.quantity import Quantity
from zo2sim.memory.account import GIB

_NOTE = (
    "?: nobody measured it, so it is assumed; say your host's memory with --host-memory. Compute: "
    "by kernels measured on this card, or on its sibling, by large products, or by its data sheet."
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The machines that are known by name; with --here, a machine file for this computer."""

    here: bool = False
    """Write a machine file with what this computer says of itself: card, memory and cores. Its
    rates stay those of the machine of the catalogue that is most like it, until calibrated."""
    out: Path = Path("machine.toml")
    """With --here: the machine file to write, a new one."""
    json: str | None = None
    """Write the answer as JSON to this file, or to stdout with '-'."""

    def typed(self, flags: frozenset[str]) -> Self:
        """Refuse what has no effect, and a file that is there."""
        if not self.here:
            refuse(flags, ("--out",), "without --here")
        elif self.out.exists():
            raise ValueError(f"--out must name a new file; {self.out} is there already")
        return self


def main(config: Config) -> int:
    return finish(_here(config.out) if config.here else _catalogue(), config.json)


def _catalogue() -> Answer:
    machines = [named(name) for name in names()]
    several = [named(name) for name in nodes.names()]
    content = {
        "machines": [_content(machine) for machine in machines],
        "nodes": [_content(machine) for machine in several],
    }

    def show() -> None:
        Console().print(_table(machines), "")
        Console().print(_node_table(several))

    return Answer(content, show)


def _node_table(machines: list[Machine]) -> Table:
    """Computers with several devices, and how these are connected."""
    table = headed(
        *left("several", whole=True), *right("host GiB", whole=True), *left("devices"), gap=1
    )
    for machine in machines:
        shape = "" if machine.node is None else machine.node.shape
        table.add_row(machine.name, _marked(machine.host.memory_bytes, GIB, 0), shape)
    return table


def _content(machine: Machine) -> dict[str, Any]:
    known = machine.quantities
    return {
        "name": machine.name,
        "description": machine.description,
        "class": machine.architecture,
        "device_bytes": machine.device.memory_bytes.value,
        "host_bytes": machine.host.memory_bytes.value,
        "h2d_bytes_per_s": machine.link.h2d_bytes_per_s.value,
        "both_h2d_bytes_per_s": machine.link.both_h2d_bytes_per_s.value,
        "compute": _compute(machine),
        **({} if machine.node is None else {"devices": machine.node.devices}),
        "provenance": {key: quantity.provenance for key, quantity in known.items()},
    }


def _compute(machine: Machine) -> str:
    """What the times of products are from."""
    known, table = machine.quantities, machine.device.kernel_table
    if table is not None:
        return "kernels" if machine.name.startswith(table) else "sibling"
    if GEMM in known and known[GEMM].provenance == "measured":
        return "products"
    return "data sheet" if machine.name != THIS_HOST else "placeholder"


def _table(machines: list[Machine]) -> Table:
    figures = right("card GiB", "host GiB", "link GB/s", "both ways", whole=True)
    table = headed(*left("machine", whole=True), *figures, *left("compute", whole=True), gap=1)
    table.caption, table.caption_justify = _NOTE, "left"
    for machine in machines:
        link = machine.link
        table.add_row(
            machine.name,
            _marked(machine.device.memory_bytes, GIB, 0),
            _marked(machine.host.memory_bytes, GIB, 0),
            _marked(link.h2d_bytes_per_s, 1e9, 1),
            _marked(link.both_h2d_bytes_per_s, 1e9, 1),
            _compute(machine),
        )
    return table


def _marked(quantity: Quantity, unit: float, digits: int) -> str:
    mark = "?" if quantity.provenance == "assumed" else " "
    return f"{quantity.value / unit:.{digits}f}{mark}"


def _here(out: Path) -> Answer:
    found = Here.read()
    machine = found.machine(f"zo2sim machines --here, {date.today()}: as this computer says")
    write_file(out, dump(machine).encode())
    told = {
        "card": "none that a driver tells of" if found.card is None else found.card.name,
        "card's memory": "" if found.card is None else show_bytes(found.card.memory_bytes),
        "host memory": show_bytes(found.memory_bytes),
        "cores": str(found.num_cores),
        "connected": "" if machine.node is None else machine.node.shape,
    }
    content = {"machine_file": str(out), "base": found.base.name, **_content(machine)}
    return Answer(content, lambda: _print_here(told, found, out, Console()))


def _print_here(told: Mapping[str, str], found: Here, out: Path, console: Console) -> None:
    for topic, words in told.items():
        if words:
            console.print(f"{topic:15}{escape(words)}", highlight=False)
    rest = f"not measured: as on {found.base.name}"
    backend = "" if found.card is None else "--backend cuda "
    console.print(f"{'all rates':15}{rest}", highlight=False)
    console.print(f"{'machine file':15}{escape(str(out))}", highlight=False, soft_wrap=True)
    console.print(f"{'next':15}zo2sim plan --machine {escape(str(out))}", soft_wrap=True)
    console.print(f"{'':15}zo2sim calibrate {backend}measures the rates", highlight=False)


if __name__ == "__main__":
    sys.exit(run(main, Config))
