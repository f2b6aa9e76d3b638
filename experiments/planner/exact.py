"""The engine's own answer to one position of the sliders: every plan searched, the best simulated;
of several cards, every plan that the page stores.

It has the fields that `page/answer.js` looks up, so the page shows both alike.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from experiments.answer.advice import Advice, advise
from experiments.answer.trust import Trust
from experiments.case.target import plan_flags, recipe_flags
from experiments.planner.choices import CARDS, FORMATS, stored_plans
from experiments.planner.machines import trusted
from zo2sim.checks import check_choice, positive
from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import replace_all, scale_link
from zo2sim.memory.account import GIB, fits
from zo2sim.memory.placements import rooms
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.case import Case, asked, of_usual_devices, of_usual_length
from zo2sim.predict.predict import Prediction, predict
from zo2sim.predict.vectorised import step_s
from zo2sim.search.search import Effort, Found, NothingFits, search
from zo2sim.search.space import PlanSpace, plan_axes
from zo2sim.simulate.bounds import BOTH_WAYS
from zo2sim.simulate.trace import Window, clipped
from zo2sim.simulate.work import Resource

_EFFORT = Effort(tolerance=0.01, simulations=4, grain=0.3)
_LINK = (Resource.LINK_H2D, Resource.LINK_D2H, BOTH_WAYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A position of the sliders: GiB, or None for the machine's own; ``link`` is a factor."""

    cards: int = 1
    storage: str = "fp16"
    trains: str = "all"
    microbatches: int = 1
    device: float | None = None
    host: float | None = None
    link: float = 1.0
    drive: bool = True

    def __post_init__(self) -> None:
        """``ValueError`` for a format that is not offered, and for what is no amount."""
        check_choice("format", self._key, tuple(kind.key for kind in FORMATS))
        check_choice("cards", str(self.cards), tuple(map(str, CARDS)))
        Recipe(microbatches=self.microbatches)
        positive("link", self.link)
        for name, amount in (("device", self.device), ("host", self.host)):
            if amount is not None:
                positive(name, amount)

    @property
    def _key(self) -> str:
        return f"{self.storage} {self.trains}"

    @property
    def recipe(self) -> Recipe:
        """What fixes the result."""
        kind = next(kind for kind in FORMATS if kind.key == self._key)
        return replace(kind.recipe, microbatches=self.microbatches)

    def on(self, machine: Machine) -> Machine:
        """The machine with what was changed of it."""
        amounts = {"device.memory_bytes": self.device, "host.memory_bytes": self.host}
        changes = {key: gib * GIB for key, gib in amounts.items() if gib is not None}
        changed = replace_all(machine, changes)
        return changed if self.link == 1.0 else scale_link(changed, self.link)


def exact(question: Question, model: Model, machine: Machine) -> dict[str, Any]:
    """What the page shows, by name. Where nothing fits, the smallest plan with what it lacks.

    ``machine`` has the cards of the question. They share blocks as on a ring, in the groups of
    lanes that a command takes where nobody says how many.
    """
    recipe = of_usual_length(model, question.recipe)
    plan = of_usual_devices(machine, Plan(devices=question.cards), recipe, ("devices",))
    base = asked(model, question.on(machine), plan, recipe)
    best, front = (
        _searched(base, drive=question.drive) if question.cards == 1 else _best_stored(base)
    )
    prediction = predict(best)
    found = _content(prediction) | {"front": [_point(point) for point in _rising(front)]}
    advice = [_change(item, prediction) for item in advise(prediction)]
    return found | {"advice": advice}


def _searched(base: Case, *, drive: bool) -> tuple[Case, tuple[Found, ...]]:
    axes = plan_axes(base) if drive else plan_axes(base) | {"tier": ("ram",)}
    try:
        found = search(PlanSpace(base=base, axes=axes), effort=_EFFORT)
    except NothingFits:
        return replace(base, plan=replace(base.plan, num_slots=1)), ()
    return found.best.case, found.pareto


def _best_stored(base: Case) -> tuple[Case, tuple[Found, ...]]:
    """Of several cards the best of the plans that the page stores, and of those with one slot: a
    search would walk thousands of programs that are as many times as long."""
    groups = base.plan.lane_groups
    slots = (replace(base.plan, num_slots=1, resident_blocks=n) for n in _residents(base))
    stored = stored_plans(base.model, base.recipe, base.plan.devices)
    plans = dict.fromkeys([*(replace(plan, lane_groups=groups) for plan in stored), *slots])
    cases = [replace(base, plan=plan) for plan in plans]
    fitting = [case for case in cases if all(p.fits for p in fits(case.memory, case.machine))]
    if not fitting:
        return replace(base, plan=replace(base.plan, num_slots=1)), ()
    found: list[Found] = []
    for least_s, number in sorted(zip(step_s(fitting).tolist(), range(len(fitting)), strict=True)):
        if found and least_s >= min(point.step_s for point in found):
            break
        found.append(_found(fitting[number]))
    found.sort(key=lambda point: point.step_s)
    return found[0].case, tuple(found)


def _residents(base: Case) -> tuple[int, ...]:
    """The least number of resident blocks for which the host has room with one slot, if any."""
    every = range(base.model.num_blocks + 1)
    context = int(base.machine.device.context_bytes.value)
    needs = rooms(
        base.model, base.plan, base.recipe, context_bytes=context, residents=every, slots=(1,)
    )
    enough = (n for n in every if needs.host[n, 0] <= base.machine.host.memory_bytes.value)
    return tuple(enough)[:1]


def _found(case: Case) -> Found:
    prediction = predict(case)
    memory = prediction.memory
    return Found(
        case=case,
        step_s=prediction.step_s,
        device_bytes=memory.device_bytes,
        host_bytes=memory.host_bytes,
        nvme_bytes=0,
    )


def _content(prediction: Prediction) -> dict[str, Any]:
    case, trust = prediction.case, Trust.of(prediction)
    plan = plan_flags(replace(case, plan=replace(case.plan, lane_groups=1)), case.recipe)
    return {
        "source": "engine",
        "fits": prediction.fit,
        "step": prediction.step_s,
        "tokens": case.recipe.tokens_per_step,
        "tokensPerS": prediction.tokens_per_s,
        "need": [place.needed_bytes for place in prediction.fits],
        "have": [place.available_bytes for place in prediction.fits],
        "binds": prediction.bound.words,
        "band": trust.tokens_per_s_band,
        "trust": trusted(prediction, trust),
        "extrapolated": trust.extrapolated,
        "regime": _regime(prediction),
        "streams": _busy(prediction),
        "spans": _spans(prediction),
        "flags": " ".join(plan),
        "recipe": " ".join(recipe_flags(replace(case.recipe, microbatches=1), _usual(case))),
    }


def _usual(case: Case) -> Recipe:
    """What a command takes for granted."""
    return of_usual_length(case.model, Recipe())


def _regime(prediction: Prediction) -> dict[str, Any] | None:
    """Up to which rate the link binds, and what does from there on."""
    limits = prediction.bound.limits_s
    link = max((limits[name] for name in _LINK if name in limits), default=0.0)
    others = {name: s for name, s in limits.items() if name not in _LINK}
    if link == 0.0:
        return None
    other = max(others, key=lambda name: others[name])
    own = prediction.case.machine.link.h2d_bytes_per_s.value
    return {"upTo": own * link / others[other], "other": other, "binds": link > others[other]}


def _busy(prediction: Prediction) -> dict[str, float]:
    """Seconds of a step that each stream is busy."""
    steps = prediction.trace.steady_steps
    return {str(stream): s / steps for stream, s in prediction.steady.busy_s.items()}


def _spans(prediction: Prediction) -> dict[str, list[tuple[float, float]]]:
    """When each stream is busy in the last steady step, from its beginning."""
    trace = prediction.trace
    end = trace.steady.end_s
    window = Window(end - prediction.step_s, end)
    return {
        str(stream): [
            (start - window.start_s, stop - window.start_s)
            for start, stop in clipped(trace.on(stream), window)
        ]
        for stream in prediction.steady.busy_s
    }


def _rising(points: Iterable[Found]) -> Iterator[Found]:
    """Those that no smaller one beats, the smallest on the card first, as the page draws them."""
    best = 0.0
    for point in sorted(points, key=lambda one: (one.device_bytes, -one.tokens_per_s)):
        if point.tokens_per_s > best:
            best = point.tokens_per_s
            yield point


def _point(point: Found) -> dict[str, float]:
    return {"device": point.device_bytes, "tokensPerS": point.tokens_per_s}


def _change(item: Advice, base: Prediction) -> dict[str, Any]:
    after = item.prediction
    return {
        "words": item.change,
        "factor": after.tokens_per_s / base.tokens_per_s,
        "answer": {
            "tokensPerS": after.tokens_per_s,
            "need": [after.memory.device_bytes],
            "binds": after.bound.words[:1],
        },
    }
