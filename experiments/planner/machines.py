"""What the page knows of every machine: sizes, link, and how far to trust what is said of it.

A band takes a fifth of a second, so not every stored step has its own: it has the band of a small
case on the same machine that the same kind of limit binds, and the page says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from experiments.answer.trust import Trust
from experiments.planner.computers import Computer
from zo2sim.models.presets import resolve
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.refusals import refusal
from zo2sim.predict.case import Case, of_usual_devices
from zo2sim.predict.predict import Prediction, predict
from zo2sim.simulate.bounds import BOTH_WAYS, DEPENDENCIES, UPLINK
from zo2sim.simulate.work import Resource

TYPICAL = "opt-1.3b"
"""Whose bands stand for those of all models."""
_KINDS: Mapping[str, tuple[str, ...]] = {
    "compute": (Resource.COMPUTE,),
    "link": (Resource.LINK_H2D, Resource.LINK_D2H, BOTH_WAYS, UPLINK),
    "drive": (Resource.NVME_READ, Resource.NVME_WRITE),
}
"""Kinds of limits that make bands alike."""
_CASES: Mapping[str, tuple[Plan, Recipe]] = {
    "compute": (Plan(), Recipe(microbatches=16)),
    "link": (Plan(), Recipe(sequence=64)),
    "drive": (Plan(tier="nvme"), Recipe(sequence=64)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A machine, and the typical case of every kind of limit that one was found for."""

    computer: Computer
    typical: Mapping[str, tuple[Prediction, Trust]]

    @classmethod
    def of(cls, computer: Computer) -> "Known":
        """Predicts the typical cases, and draws their bands."""
        return cls(computer=computer, typical=dict(_typical(computer)))

    @property
    def content(self) -> dict[str, Any]:
        computer, own = self.computer, self.computer.machine
        host = own.host.memory_bytes
        return {
            "name": computer.name,
            "card": computer.card,
            "cards": computer.cards,
            "asked": own.name,
            "description": own.description,
            "device_bytes": own.device.memory_bytes.value,
            "host_bytes": host.value,
            "host_assumed": host.provenance == "assumed",
            "drive_bytes": 0.0 if own.nvme is None else own.nvme.capacity_bytes.value,
            "h2d_bytes_per_s": own.link.h2d_bytes_per_s.value,
            "trust": {kind: trusted(*found) for kind, found in self.typical.items()},
        }


def trusted(prediction: Prediction, trust: Trust) -> dict[str, Any]:
    """What stands beside a step: its band relative to it, real runs, sources."""
    band, step_s = trust.band, prediction.step_s
    return {
        "band": [band.low_step_s / step_s, band.high_step_s / step_s],
        "line": trust.line,
        "words": trust.words,
        "provenance": dict(prediction.provenance),
    }


def _typical(computer: Computer) -> Iterator[tuple[str, tuple[Prediction, Trust]]]:
    machine = computer.machine
    for kind, (one, recipe) in _CASES.items():
        plan = of_usual_devices(machine, replace(one, devices=computer.cards), recipe, ("devices",))
        if refusal(plan, recipe) is not None or (plan.tier == "nvme" and machine.nvme is None):
            continue
        found = predict(Case(model=resolve(TYPICAL), machine=machine, plan=plan, recipe=recipe))
        limits = found.bound.limits_s
        busiest = max(limits.keys() - {DEPENDENCIES}, key=lambda name: limits[name])
        if busiest in _KINDS[kind]:
            yield kind, (found, Trust.of(found))
