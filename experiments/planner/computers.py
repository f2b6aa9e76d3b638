"""Computers that the page offers: every machine, and the catalogue's with more of its card."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from experiments.planner.choices import CARDS
from zo2sim.machines import nodes
from zo2sim.machines.file import named
from zo2sim.machines.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Computer:
    """So many of a card in a machine. ``card`` is the machine that has one of them."""

    card: str
    cards: int
    machine: Machine

    @property
    def name(self) -> str:
        """``a100-sxm-80gb``, ``4 x a100-sxm-80gb``."""
        return self.card if self.cards == 1 else f"{self.cards} x {self.card}"


def computers(machines: Iterable[Machine]) -> tuple[Computer, ...]:
    """Each machine with one card, and then all with two, four and eight that there are."""
    every = tuple(machines)
    return tuple(
        Computer(card=machine.name, cards=cards, machine=whole)
        for cards in CARDS
        for machine in every
        for whole in _with(machine, cards)
    )


def _with(machine: Machine, cards: int) -> Iterator[Machine]:
    """The machine that has so many of a machine's card, if any: itself, or one of the catalogue."""
    if cards == 1:
        yield machine
        return
    own = (machine,) if machine.node is not None else _nodes(machine.name)
    enough = (m for m in own if m.node is not None and m.node.devices >= cards)
    yield from [*enough][:1]


@cache
def _nodes(card: str) -> tuple[Machine, ...]:
    """Machines of the catalogue with several of a card, those with few first."""
    return tuple(map(named, nodes.of_card(card)))
