"""What to change first: small changes of a plan, each predicted, the best ones that fit."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.refusals import refusal
from zo2sim.predict.case import Case
from zo2sim.predict.predict import Prediction, predict


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A change and what it is predicted to give."""

    change: str
    prediction: Prediction


def advise(base: Prediction, *, most: int = 3) -> tuple[Advice, ...]:
    """The changes that fit and give the most tokens per second, best first.

    Where ``base`` fits, only changes that gain at least 2 % are worth telling.
    """
    tried = [Advice(change=text, prediction=predict(case)) for text, case in _changes(base.case)]
    floor = base.tokens_per_s * 1.02 if base.fit else 0.0
    good = [a for a in tried if a.prediction.fit and a.prediction.tokens_per_s > floor]
    return tuple(sorted(good, key=lambda a: -a.prediction.tokens_per_s)[:most])


def _changes(case: Case) -> Iterator[tuple[str, Case]]:
    for text, plan, recipe in _variants(case):
        if (plan, recipe) != (case.plan, case.recipe) and refusal(plan, recipe) is None:
            if plan.tier == "nvme" and case.machine.nvme is None:
                continue
            yield text, replace(case, plan=plan, recipe=recipe)


def _variants(case: Case) -> Iterator[tuple[str, Plan, Recipe]]:
    """One axis at a time."""
    plan, recipe = case.plan, case.recipe
    if plan.policy is not Policy.ZO2:
        own = replace(recipe, noise="gaussian", perturbation="scratch", reference="none")
        yield "--policy zo2", replace(plan, policy=Policy.ZO2, pinning="auto"), own
    for microbatches in (4, 16):
        more = recipe.microbatches * microbatches
        yield f"--microbatches {more}", plan, replace(recipe, microbatches=more)
    for every in (2, 8):
        yield f"--write-back-every {every}", replace(plan, write_back_every=every), recipe
    for slots in (1, 3):
        yield f"--num-slots {slots}", replace(plan, num_slots=slots), recipe
    yield "--scratch-copies 2", replace(plan, scratch_copies=2), recipe
    for share in (4, 2, 1):
        if plan.policy is not Policy.RESIDENT:
            stay = case.model.num_blocks // share
            yield f"--resident-blocks {stay}", replace(plan, resident_blocks=stay), recipe
    yield "--tier nvme", replace(plan, tier="nvme"), recipe
    host = replace(plan, policy=Policy.HOST_UPDATE)
    if recipe.lora_rank is not None:
        four_bits = replace(recipe, storage_dtype=Dtype.INT4)
        yield "--storage-dtype int4", plan, four_bits
    yield "--policy host_update --wire-dtype fp8", host, replace(recipe, wire_dtype=Dtype.FP8)
