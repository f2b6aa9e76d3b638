"""`--plan auto`: of a few plans, the fastest one that is predicted to fit."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from zo2rt.supported import unsupported
from zo2sim.case import Case
from zo2sim.machine import Machine
from zo2sim.model_config import from_config
from zo2sim.plan import Plan, Policy, Recipe
from zo2sim.predict import Prediction, predict
from zo2sim.refusals import refusal


def choose(config: Mapping[str, Any], machine: Machine, recipe: Recipe, *, name: str) -> Plan:
    """The chosen plan; ``config`` is the model's config.json.

    Of plans that are equally fast the simplest is chosen, the resident one first. Raises
    ``ValueError`` where no plan fits, saying what is missing.
    """
    model = from_config(config, name=name)
    tried = [
        predict(Case(model=model, machine=machine, plan=plan, recipe=recipe))
        for plan in _plans(model.num_blocks)
        if refusal(plan, recipe) is None and unsupported(plan, recipe) is None
    ]
    fitting = [prediction for prediction in tried if prediction.fit]
    if not fitting:
        smallest = min(tried, key=lambda prediction: prediction.memory.device_bytes)
        missing = next(place for place in smallest.fits if not place.fits)
        raise ValueError(f"--plan auto: no plan fits {machine.name}; {missing.sentence}")
    return min(fitting, key=_seconds).case.plan


def _seconds(prediction: Prediction) -> float:
    """Two digits: no plan is worth more trouble for less."""
    return float(f"{prediction.step_s:.2g}")


def _plans(blocks: int) -> Iterator[Plan]:
    yield Plan(policy=Policy.RESIDENT)
    for slots in (1, 2, 3):
        for every in (1, 4):
            yield Plan(num_slots=slots, write_back_every=every)
    yield Plan(policy=Policy.HOST_UPDATE)
    for stay in {blocks // 2, blocks // 4} - {0}:
        yield replace(Plan(), resident_blocks=stay)
