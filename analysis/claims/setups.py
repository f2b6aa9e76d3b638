"""What the claims were measured on: `zo2sim/data/plausible_setups.toml`, as cases to predict."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Any

from zo2sim.baselines import Training, TrainingCase
from zo2sim.machines.file import named
from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import replace_all
from zo2sim.models.config import from_config
from zo2sim.models.presets import names as preset_names
from zo2sim.models.presets import preset
from zo2sim.models.shapes import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Something that a publication leaves open: its name, its options, and why these."""

    name: str
    options: tuple[Mapping[str, Any], ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What one published value was measured on; options change training or machine."""

    claim: str
    value: str
    model: str
    machine: str
    training: Mapping[str, Any]
    num_devices: int = 1
    opens: tuple[Open, ...] = ()
    why: str

    @property
    def nominal(self) -> TrainingCase:
        """The first option of everything that is open."""
        return next(self.cases())

    def cases(self) -> Iterator[TrainingCase]:
        """Every plausible setup, the nominal one first."""
        for chosen in product(*(one.options for one in self.opens)):
            changes = {key: value for option in chosen for key, value in option.items()}
            yield self._case(changes)

    def _case(self, changes: Mapping[str, Any]) -> TrainingCase:
        constants = {key: value for key, value in changes.items() if "." in key}
        fields = {key: value for key, value in changes.items() if "." not in key}
        machine = machine_named(self.machine)
        if constants:
            machine = replace_all(machine, constants, source=f"an option of {self.claim}")
        return TrainingCase(
            model=model_named(self.model),
            machine=machine,
            training=Training(**{**self.training, **fields}),
        )


def setup(claim: str, value: str) -> Setup:
    """The setup of one published value. Raises ``KeyError`` where there is none."""
    return _setups()[claim, value]


def with_range(kind: str) -> tuple[Setup, ...]:
    """The setups whose value's name starts with, or contains, ``kind``."""
    return tuple(s for s in _setups().values() if kind in s.value)


def shared_setups() -> tuple[Mapping[str, Any], ...]:
    """Links that several cards share: machine, and what a prediction must lie in."""
    return tuple(_file()["shared"])


def device_setups() -> tuple[Mapping[str, Any], ...]:
    """Several devices against one: machine, devices, and what a prediction must lie in."""
    return tuple(_file()["devices"])


def tolerance(name: str) -> float:
    """An agreed tolerance, as a share."""
    return float(_file()["tolerance"][name])


@cache
def machine_named(name: str) -> Machine:
    """A machine of the setups, or of the catalogue; each change keeps its own provenance."""
    known = {entry["name"]: entry for entry in _file()["machine"]}
    if name not in known:
        return named(name)
    machine = machine_named(known[name]["base"])
    for change in known[name]["changes"]:
        machine = replace_all(
            machine,
            {change["key"]: change["value"]},
            provenance=change["provenance"],
            source=change["source"],
        )
    return machine


@cache
def model_named(name: str) -> Model:
    """A model of the setups, or a preset."""
    known = {entry["name"]: entry["config"] for entry in _file()["model"]}
    if name in known:
        return from_config(known[name], name=name)
    if name not in preset_names():
        raise ValueError(f"a setup's model must be one of {', '.join(known)} or a preset; {name}")
    return preset(name)


@cache
def _setups() -> dict[tuple[str, str], Setup]:
    found = (_setup(entry) for entry in _file()["setup"])
    return {(s.claim, s.value): s for s in found}


def _setup(entry: Mapping[str, Any]) -> Setup:
    opens = tuple(
        Open(name=o["name"], options=tuple(o["options"]), why=o["why"])
        for o in entry.get("open", ())
    )
    return Setup(
        claim=entry["claim"],
        value=entry["value"],
        model=entry["model"],
        machine=entry["machine"],
        training={"method": entry["method"], **entry["training"]},
        num_devices=entry.get("num_devices", 1),
        opens=opens,
        why=entry["why"],
    )


@cache
def _file() -> dict[str, Any]:
    text = files("zo2sim").joinpath("data/plausible_setups.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
