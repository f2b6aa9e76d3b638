"""The largest model that fits a machine, or each: `plan --largest-model`.

Every preset is tried, in the recipe that was asked for and in formats that need less, and of the
case's own model how deep and how wide it may get.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.answer.questions import GIGA, kept, told
from experiments.case.sizes import show_seconds
from experiments.case.spec import Spec
from experiments.case.target import recipe_flags
from experiments.cli import Answer
from experiments.screen import headed, left, right, tracked, working
from zo2sim.dtypes import Dtype
from zo2sim.models.config.wider import Widths
from zo2sim.models.presets import every, resolve, resolve_config
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Recipe
from zo2sim.plan.refusals import refusal
from zo2sim.predict.case import Case
from zo2sim.predict.predict import Prediction, predict
from zo2sim.search.largest import Edge, Feasibility, deepest, room_for, rooms_for, widest

RANK = 16
"""Of the adapters that train beside a base in a narrow format."""
_POINT = "Host memory is assumed where --host-memory is not given. Steps are of the plan that fits."


@dataclass(frozen=True, slots=True)
class Way:
    """Weights in one format: ``flags`` are what it adds to the recipe that was asked for."""

    flags: str
    recipe: Recipe


def ways(asked: Recipe, given: Collection[str]) -> tuple[Way, ...]:
    """The recipe, and the same with a frozen base in eight and four bits.

    Alone where somebody chose how weights are stored, or what is trained.
    """
    own = Way("", asked)
    if {"--storage-dtype", "--trainable"} & set(given):
        return (own,)
    found = (
        replace(asked, trainable=f"lora:{RANK}", storage_dtype=d) for d in (Dtype.INT8, Dtype.INT4)
    )
    return (own, *(Way(" ".join(recipe_flags(recipe, asked)), recipe) for recipe in found))


def largest(
    spec: Spec, fixed: Collection[str] = (), given: Collection[str] = frozenset()
) -> Answer:
    """Which presets fit the machine in which format, and how deep or wide the own model may get."""
    base = spec.case()
    models = _usable(base)
    rooms = rooms_for(models, base, fixed)
    narrow = {
        way.flags: _first_that_fits(models, replace(base, recipe=way.recipe), fixed)
        for way in ways(base.recipe, given)[1:]
        if refusal(base.plan, way.recipe) is None
    }
    edges = _edges(spec, base, models, fixed)
    fitting = [room for room in rooms if room.fits]
    failing = next((room for room in rooms if not room.fits), None)
    table = headed("", "parameters", "verdict", title=f"largest model that fits{kept(base, fixed)}")
    ends = [room for edge in edges.values() for room in (edge.fits, edge.fails)]
    for room in (*fitting[-1:], failing, *ends):
        if room is not None:
            _add_room(table, room)
    for flags, room in narrow.items():
        if room is not None:
            _add_room(table, room, flags)
    content = {
        "fixed": {name: getattr(base.plan, name) for name in sorted(fixed)},
        "presets": {room.model.name: _room_content(room) for room in rooms},
        "too_few_positions": [model.name for model in _presets() if model not in models],
        "largest": fitting[-1].model.name if fitting else None,
        "formats": {
            flags: None if room is None else {"largest": room.model.name, **_room_content(room)}
            for flags, room in narrow.items()
        },
        "widest": None,
        **{name: _edge_content(base, edge) for name, edge in edges.items()},
    }
    return told(table, content, yes=bool(fitting) or any(narrow.values()))


def on_every_machine(
    spec: Spec, names: Sequence[str], fixed: Collection[str], given: Collection[str]
) -> Answer:
    """The largest preset on each machine, in each format, and what a step of it takes."""
    rows = [
        row
        for name in tracked(names, "machines", total=len(names))
        for row in _of_machine(replace(spec, machine=name), fixed, given)
    ]
    figures = right("parameters", "step", "tokens/s", whole=True)
    table = headed(*left("machine", whole=True), "model", *figures, "with", title="largest model")
    table.caption, table.caption_justify = _POINT, "left"
    for row in rows:
        table.add_row(*row.cells)
    content = {"machines": [row.content for row in rows]}
    return Answer(content, lambda: Console().print(table), yes=any(row.found for row in rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class OnMachine:
    """What is the largest on a machine in one format, or nothing."""

    machine: str
    flags: str
    found: Prediction | None

    @property
    def cells(self) -> tuple[str, ...]:
        if self.found is None:
            return self.machine, "none", "", "", "", escape(self.flags)
        model, tier = self.found.case.model, self.found.case.plan.tier
        flags = f"{self.flags} --tier nvme" if tier == "nvme" else self.flags
        return (
            *(self.machine, escape(model.name), f"{model.elements / GIGA:.4g} B"),
            *(show_seconds(self.found.step_s), f"{self.found.tokens_per_s:.4g}", escape(flags)),
        )

    @property
    def content(self) -> dict[str, Any]:
        told: dict[str, Any] = {"machine": self.machine, "with": self.flags, "largest": None}
        if self.found is None:
            return told
        case = self.found.case
        return told | {
            "largest": case.model.name,
            "elements": case.model.elements,
            "tier": case.plan.tier,
            "step_s": self.found.step_s,
            "tokens_per_s": self.found.tokens_per_s,
        }


def _of_machine(spec: Spec, fixed: Collection[str], given: Collection[str]) -> Iterator[OnMachine]:
    base = spec.case()
    for way in ways(base.recipe, given):
        if refusal(base.plan, way.recipe) is None:
            case = replace(base, recipe=way.recipe)
            yield OnMachine(machine=spec.machine, flags=way.flags, found=_step(case, fixed))


def _step(base: Case, fixed: Collection[str]) -> Prediction | None:
    """Of the largest preset with two slots, or one where only that has room."""
    room = _first_that_fits(_usable(base), base, fixed)
    if room is None:
        return None
    usual = replace(room.case, plan=replace(room.case.plan, num_slots=base.plan.num_slots))
    found = predict(usual)
    return found if found.fit else predict(room.case)


def _first_that_fits(
    models: Sequence[Model], base: Case, fixed: Collection[str]
) -> Feasibility | None:
    """From the largest down."""
    ordered = sorted(models, key=lambda model: -model.elements)
    rooms = (room_for(replace(base, model=model), fixed) for model in ordered)
    return next((room for room in rooms if room.fits), None)


@cache
def _presets() -> tuple[Model, ...]:
    return tuple(resolve(name) for name in every())


def _usable(base: Case) -> tuple[Model, ...]:
    """Presets that have as many positions as the sequence."""
    sequence = base.recipe.sequence
    return tuple(m for m in _presets() if not (m.learned and m.exceeds(sequence)))


def _edges(
    spec: Spec, base: Case, models: Iterable[Model], fixed: Collection[str]
) -> dict[str, Edge]:
    family = tuple(model for model in models if model.family == base.model.family)
    edges, config = {}, resolve_config(spec.model)
    with working("deepest and widest model"):
        edges["deepest"] = deepest(base, fixed)
        if config is not None:  # a traced model has one width: that of its class
            widths = Widths(model=base.model, config=config, family=family)
            edges["widest"] = widest(base, widths, fixed)
    return edges


def _add_room(table: Table, room: Feasibility, flags: str = "") -> None:
    verdict = f"fits with {flags}" if flags else "fits"
    if room.missing:
        verdict = "; ".join(room.missing)
    elif room.case.plan.tier == "nvme":
        verdict = f"{verdict} --tier nvme" if flags else "fits with --tier nvme"
    table.add_row(escape(room.model.name), f"{room.model.elements / GIGA:.4g} B", escape(verdict))


def _room_content(room: Feasibility) -> dict[str, Any]:
    return {"elements": room.model.elements, "fits": room.fits, "missing": list(room.missing)}


def _edge_content(base: Case, edge: Edge) -> dict[str, Any]:
    return {
        "model": base.model.name,
        "hidden": None if edge.fits is None else edge.fits.model.hidden,
        "blocks": None if edge.fits is None else edge.fits.model.num_blocks,
        "elements": None if edge.fits is None else edge.fits.model.elements,
        "fails_at_hidden": None if edge.fails is None else edge.fails.model.hidden,
        "fails_at_blocks": None if edge.fails is None else edge.fails.model.num_blocks,
        "missing": [] if edge.fails is None else list(edge.fails.missing),
    }
