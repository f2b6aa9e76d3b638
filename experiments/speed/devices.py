"""How fast plans of several devices are built, proved, simulated and walked."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from time import process_time
from types import MappingProxyType

from zo2rt.measure.spread import Spread
from zo2sim.machines.file import named
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Layout, Shape
from zo2sim.policies.proof import hazards
from zo2sim.predict.case import Case
from zo2sim.predict.vectorised import step_s
from zo2sim.simulate.events import simulate

_PLANS = 4096
_MACHINE, _MOST, _MODEL = "8x-a100", 8, "opt-175b"


def kinds(devices: int) -> Mapping[str, Plan]:
    """The plans that are measured, by name: every way to share the work among so many."""
    if devices == 1:
        return MappingProxyType({"alone": Plan()})
    several = partial(Plan, devices=devices)
    return MappingProxyType(
        {
            "ring": several(),
            "ring_of_groups": several(lane_groups=max(1, devices // 2)),
            "whole": several(placement="whole"),
            "sliced": several(placement="sliced"),
        }
    )


def figures(devices: int, *, repeats: int) -> dict[str, float]:
    """Processor seconds, and plans per second, of every kind: medians over ``repeats``.

    Raises ``ValueError`` for a count that the machine does not have, or no plan can share among.
    """
    if not 1 <= devices <= _MOST:
        raise ValueError(f"--devices must be from 1 to {_MOST}, those of {_MACHINE}; got {devices}")
    found: dict[str, float] = {}
    for name, plan in kinds(devices).items():
        rows = [_seconds(plan, name=f"{_MODEL} {turn}") for turn in range(repeats)]
        for part in rows[0]:
            found[f"{name}_{part}_s"] = Spread.of(row[part] for row in rows).median
        for part in ("walk", "build_and_walk"):
            found[f"{name}_{part}_plans_per_s"] = _PLANS / found[f"{name}_{part}_s"]
    return found


def cases(plan: Plan, *, name: str = _MODEL, count: int = _PLANS) -> list[Case]:
    """Cases of a plan that differ in how much data they process; the ``name`` is the model's."""
    model, machine = replace(preset(_MODEL), name=name), named(_MACHINE)
    recipes = (
        Recipe(
            batch=1 + n % 16,
            sequence=128 * (1 + n // 16 % 16),
            microbatches=plan.devices * (1 + n // 256),
        )
        for n in range(count)
    )
    return [Case(model=model, machine=machine, plan=plan, recipe=one) for one in recipes]


def _seconds(plan: Plan, *, name: str) -> dict[str, float]:
    """Of each part of the work, for a model that nobody has asked about before."""
    some = cases(plan, name=name)
    case, cost = some[0], some[0].cost
    layout = Layout(shape=Shape.of(case.model), plan=plan, recipe=case.recipe)
    program = case.program
    return {
        "build": _taken_s(lambda: case.program),
        "build_and_walk": _taken_s(lambda: step_s(some)),
        "walk": _taken_s(lambda: step_s(some)),
        "proof": _taken_s(lambda: hazards(layout)),
        "simulate": _taken_s(lambda: simulate(program, cost, cost.rates)),
    }


def _taken_s(work: Callable[[], object]) -> float:
    start_s = process_time()
    work()
    return process_time() - start_s
