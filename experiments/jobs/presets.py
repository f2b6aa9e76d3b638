"""Presets of the sweep: functions that return jobs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from experiments.case.spec import LINK_DUPLEX, LINK_SCALE, Spec
from experiments.jobs.job import Job
from experiments.jobs.one_to_eight import one_to_eight
from experiments.jobs.opt175b_18gb import opt175b_18gb
from zo2sim.machines.file import named
from zo2sim.plan.choices import Plan, Policy, Recipe

OPT = ("1.3b", "2.7b", "6.7b", "13b", "30b", "66b", "175b")
MACHINE = "a100-pcie-80gb"
MEZO = Plan(policy=Policy.RESIDENT), Recipe(perturbation="in_place", noise="torch")
REFERENCE = Plan(policy=Policy.ZO2_REFERENCE), Recipe()  # `Spec` gives it its own recipe
ZO2 = Plan(), Recipe()
LINK_GB_PER_S = (4.0, 8.0, 11.5, 16.0, 25.5, 36.0, 55.6, 80.0, 128.0)
MICROBATCHES = (1, 2, 4, 8, 16, 32)
WRITE_BACK = (1, 2, 4, 8, 16)


def paper() -> Iterator[Job]:
    """The default: what the ZO2 paper's readers ask, for the OPT family on an A100."""
    yield from memory()
    yield from throughput()
    yield from ablation()
    yield from timeline()
    yield from break_even()
    yield from both_ways()


def memory() -> Iterator[Job]:
    """Device memory against model size; embeddings untied, as where it was published."""
    series = {"MeZO": MEZO, "zo2_reference": REFERENCE, "zo2": ZO2}
    for size in OPT:
        model = f"opt-{size}:untied"
        for label, (plan, recipe) in series.items():
            yield Job(question="memory", label=label, spec=_spec(model, plan, recipe))
        yield Job(question="memory", label="AdamW", spec=_spec(model, *MEZO), account="adamw")


def throughput() -> Iterator[Job]:
    """Tokens per second against model size."""
    plan, recipe = ZO2
    series = {
        "MeZO": MEZO,
        "MeZO M=8": (MEZO[0], replace(MEZO[1], microbatches=8)),
        "zo2_reference": REFERENCE,
        "zo2": ZO2,
        "zo2 M=8": (plan, replace(recipe, microbatches=8)),
        "zo2 k=8": (replace(plan, write_back_every=8), recipe),
    }
    for size in OPT:
        for label, (plan, recipe) in series.items():
            yield Job(question="throughput", label=label, spec=_spec(f"opt-{size}", plan, recipe))


def ablation() -> Iterator[Job]:
    """The three features of the paper, each switched off, and all of them."""
    plan, recipe = ZO2
    variants = {
        "all features": plan,
        "no overlap": replace(plan, overlap=False),
        "no reusable memory": replace(plan, reuse_slots=False),
        "no deferred update": replace(plan, deferred_update=False),
        "none of them": replace(plan, overlap=False, reuse_slots=False, deferred_update=False),
    }
    for size in ("1.3b", "13b", "175b"):
        for label, variant in variants.items():
            yield Job(question="ablation", label=label, spec=_spec(f"opt-{size}", variant, recipe))


def timeline() -> Iterator[Job]:
    """One step of OPT-175B."""
    yield Job(question="timeline", label="zo2", spec=_spec("opt-175b", *ZO2))


def break_even() -> Iterator[Job]:
    """Link rate x tokens per step: where streaming costs nothing against the resident model.

    Only the medians are drawn.
    """
    plan, recipe = ZO2
    own = named(MACHINE).link.h2d_bytes_per_s.value
    for microbatches in MICROBATCHES:
        step = replace(recipe, microbatches=microbatches)
        resident = _spec("opt-13b", Plan(policy=Policy.RESIDENT), step)
        yield Job(question="break_even", label="resident", spec=resident, bands=False)
        for rate in LINK_GB_PER_S:
            changes = ((LINK_SCALE, rate * 1e9 / own),)
            spec = replace(_spec("opt-13b", plan, step), changes=changes)
            yield Job(question="break_even", label="zo2", spec=spec, bands=False)


def both_ways() -> Iterator[Job]:
    """One-way rates in both directions at once, against what is measured both ways."""
    plan, recipe = ZO2
    links: Mapping[str, tuple[tuple[str, float], ...]] = {
        "measured both ways": (),
        "as fast as one way": ((LINK_DUPLEX, 1.0),),
    }
    for label, changes in links.items():
        for every in WRITE_BACK:
            spec = _spec("opt-30b", replace(plan, write_back_every=every), recipe)
            yield Job(question="both_ways", label=label, spec=replace(spec, changes=changes))


def _spec(model: str, plan: Plan, recipe: Recipe) -> Spec:
    return Spec(model=model, machine=MACHINE, plan=plan, recipe=recipe)


PRESETS: Mapping[str, Callable[[], Iterator[Job]]] = {
    "paper": paper,
    "memory": memory,
    "throughput": throughput,
    "ablation": ablation,
    "timeline": timeline,
    "break-even": break_even,
    "both-ways": both_ways,
    "opt175b-18gb": opt175b_18gb,
    "one-to-eight": one_to_eight,
}
