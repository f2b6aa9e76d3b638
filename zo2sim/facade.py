"""The questions of the commands `plan`, `tune` and `verify`, in Python and with the same answers.

``zo2sim.predict`` and its like are these functions; the package loads them when they are asked for.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from zo2sim.machines.file import resolve as resolve_machine
from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import replace_all
from zo2sim.models.presets import resolve as resolve_model
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe, of_policy
from zo2sim.plan.file import from_fields
from zo2sim.plan.workload import Workload
from zo2sim.policies import Layout, Shape
from zo2sim.policies.proof import hazards
from zo2sim.predict.case import Case, asked, of_usual_devices, of_usual_length
from zo2sim.predict.predict import predict as predict_case
from zo2sim.predicted import Predicted
from zo2sim.schedule.verify import Hazard
from zo2sim.search.search import Objective, Search, search
from zo2sim.search.space import PlanSpace, plan_axes, recipe_axes
from zo2sim.sizes import parse_bytes
from zo2sim.spelling import suggestion

MACHINE = "a100-pcie-80gb"
"""Where nothing else is asked for, as with the commands."""
Amount = str | float
"""Bytes, as a number or as `zo2sim.sizes.parse_bytes` reads them: ``"18GB"``."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The best plan that was found, and ``search`` with its proof: bound, gap, Pareto front."""

    best: Predicted
    search: Search

    @property
    def plan(self) -> Plan:
        """Where and when: nothing of it changes a result."""
        return self.best.prediction.case.plan

    @property
    def recipe(self) -> Recipe:
        """What fixes the result."""
        return self.best.prediction.case.recipe

    @property
    def gap(self) -> float:
        """How far the best plan is above what no plan of the space can beat."""
        return float(self.search.gap)

    def __repr__(self) -> str:
        return f"<the best of {self.search.plans_evaluated:,} plans: {self.best!r}>"

    def _repr_html_(self) -> str:
        return self.best._repr_html_()  # pyright: ignore[reportPrivateUsage]


def predict(
    model: str | Model,
    machine: str | Machine = MACHINE,
    *,
    device_memory: Amount | None = None,
    host_memory: Amount | None = None,
    workload: Workload | None = None,
    **choices: Any,
) -> Predicted:
    """Will it fit, how fast, what limits it: the answer of `zo2sim plan`.

    ``choices`` are fields of `Plan` and `Recipe`. Raises ``ValueError`` for an unknown name, a
    choice that there is not, and for what cannot be combined.
    """
    site = _site(machine, device_memory, host_memory)
    shapes = _model(model)
    case = asked(shapes, site, *_chosen(choices, shapes, site))
    return Predicted(prediction=predict_case(replace(case, workload=workload or case.workload)))


def tune(
    model: str | Model,
    machine: str | Machine = MACHINE,
    *,
    device_memory: Amount | None = None,
    host_memory: Amount | None = None,
    free: Collection[str] = (),
    objective: Objective = "tokens",
    **choices: Any,
) -> Tuned:
    """The best plan of all: the answer of `zo2sim tune`.

    ``free`` names fields of the recipe that may vary, too (``"microbatches"``); ``choices`` are
    fields that may not, of the recipe or of the plan. Raises ``ValueError`` as `predict` does, and
    `zo2sim.search.search.NothingFits`, which is one, where no plan fits.
    """
    site = _site(machine, device_memory, host_memory)
    shapes = _model(model)
    base = asked(shapes, site, *_chosen(choices, shapes, site))
    axes = plan_axes(base, fixed=choices.keys()) | _freed(base, free, choices)
    found = search(PlanSpace(base=base, axes=axes), objective)
    return Tuned(best=Predicted(prediction=predict_case(found.best.case)), search=found)


def verify(*, blocks: int = 4, tied: bool = False, **choices: Any) -> tuple[Hazard, ...]:
    """Every hazard of a plan's schedule, none where it is proved to be free of races and complete:
    the answer of `zo2sim verify`. ``choices`` are as for `predict`."""
    plan, recipe = _chosen(choices)
    shape = Shape(num_blocks=blocks, tied=tied)
    return hazards(Layout(shape=shape, plan=plan, recipe=recipe))


def _model(model: str | Model) -> Model:
    return model if isinstance(model, Model) else resolve_model(model)


def _site(machine: str | Machine, device: Amount | None, host: Amount | None) -> Machine:
    found = machine if isinstance(machine, Machine) else resolve_machine(machine)
    changes = {
        key: parse_bytes(str(amount), flag=flag) if isinstance(amount, str) else float(amount)
        for key, flag, amount in (
            ("device.memory_bytes", "device_memory", device),
            ("host.memory_bytes", "host_memory", host),
        )
        if amount is not None
    }
    return replace_all(found, changes)


def _chosen(
    choices: Mapping[str, Any], model: Model | None = None, machine: Machine | None = None
) -> tuple[Plan, Recipe]:
    """Plan and recipe; ``ValueError`` for a choice that neither has.

    A sequence that nobody chose is no longer than the model has positions, and devices that nobody
    chose are all that the machine has.
    """
    of_plan = {field.name for field in fields(Plan)}
    known = (*of_plan, *(field.name for field in fields(Recipe)))
    for name in choices:
        if name not in known:
            raise ValueError(
                f"a choice must be a field of a plan or a recipe; got {name!r}"
                f"{suggestion(name, known)}"
            )
    own = {name: value for name, value in choices.items() if name in of_plan}
    rest = {name: value for name, value in choices.items() if name not in of_plan}
    plan, recipe = from_fields(Plan, own), from_fields(Recipe, rest)
    if model is not None and "sequence" not in choices:
        recipe = of_usual_length(model, recipe)
    if machine is not None:
        plan = of_usual_devices(machine, plan, of_policy(plan, recipe), choices.keys())
    return plan, recipe


def _freed(
    base: Case, free: Collection[str], choices: Mapping[str, Any]
) -> dict[str, tuple[Any, ...]]:
    """Values of the recipe's fields that may vary."""
    known = recipe_axes(base.recipe)
    for name in free:
        if name not in known:
            raise ValueError(
                f"free must name some of {', '.join(known)} (a plan's fields are free already); "
                f"got {name!r}{suggestion(name, tuple(known))}"
            )
        if name in choices:
            raise ValueError(f"{name} must be free or have a value, not both; got {choices[name]}")
    return {name: known[name] for name in free}
