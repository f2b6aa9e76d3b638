"""The preset ``one-to-eight``: OPT-175B on one to eight cards of a computer, shared in every way.

What the computer has between its cards is what matters: NVLink, or nothing but the way through the
host. Steps of one sequence and of several are asked about, as they read as many tokens on any
number of cards.
"""

from collections.abc import Iterator
from itertools import product
from typing import get_args

from experiments.case.spec import Spec
from experiments.jobs.job import Job
from zo2sim.machines.file import named
from zo2sim.plan.choices import Placement, Plan, Recipe
from zo2sim.plan.refusals import refusal
from zo2sim.predict.case import of_usual_devices

MODEL = "opt-175b"
NODES = ("8x-a100", "8x-h100", "8x-rtx-4090", "8x-l40s")
"""NVLink behind shared and own ports of PCIe, and cards without peer access."""
DEVICES = (2, 4, 8)
MICROBATCHES = (1, 8)
QUESTION, ALONE = "one_to_eight", "one card"


def one_to_eight() -> Iterator[Job]:
    """Computer x microbatches x cards x placement; what is refused is left out."""
    for machine, microbatches in product(NODES, MICROBATCHES):
        recipe = Recipe(microbatches=microbatches)
        yield _job(ALONE, machine, Plan(), recipe)
        for placement, devices in product(get_args(Placement), DEVICES):
            plan = Plan(devices=devices, placement=placement)
            usual = of_usual_devices(named(machine), plan, recipe, ("devices",))
            if refusal(usual, recipe) is None:
                yield _job(placement, machine, usual, recipe)


def _job(label: str, machine: str, plan: Plan, recipe: Recipe) -> Job:
    spec = Spec(model=MODEL, machine=machine, plan=plan, recipe=recipe)
    return Job(question=QUESTION, label=label, spec=spec)
