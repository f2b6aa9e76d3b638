"""What to change first: small changes of a plan, each predicted, the best ones that fit."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import get_args

from zo2sim.dtypes import Dtype
from zo2sim.memory.account import fits
from zo2sim.plan.choices import Placement, Plan, Policy, Recipe
from zo2sim.plan.refusals import refusal
from zo2sim.predict.case import Case, of_usual_devices
from zo2sim.predict.predict import Prediction, predict
from zo2sim.simulate.bounds import DEPENDENCIES
from zo2sim.simulate.work import Resource

WORTH = 1.02
"""Factor of tokens per second from which on a change is worth telling."""
_ALIKE = 1.01  # of two values of one field, the smaller one does where it is as fast
_MOST_VISITS = 200
"""Blocks in a period that are simulated for one change: a deep model is looked at less far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A change and what it is predicted to give."""

    change: str
    prediction: Prediction


def advise(base: Prediction, *, most: int = 3) -> tuple[Advice, ...]:
    """The changes that fit and give the most tokens per second, best first; of one field one value.

    Where ``base`` fits, only changes that gain at least 2 % are worth telling, and what cannot gain
    that, whatever the order of the same operations, is not looked at, or by its bound not
    simulated.
    """
    floor = base.tokens_per_s * WORTH if base.fit else 0.0
    best = [_best(base.case, values, floor) for values in _fields(base)]
    good = [a for a in best if a is not None and a.prediction.tokens_per_s > floor]
    return tuple(sorted(good, key=lambda a: -a.prediction.tokens_per_s)[:most])


_Change = tuple[str, Plan, Recipe]


def _best(base: Case, values: Iterator[_Change], floor: float) -> Advice | None:
    """The fastest of one field's values that fit; the first of those that are as fast. One that
    cannot give more than ``floor`` tokens per second is none."""
    best: Advice | None = None
    for text, plan, recipe in values:
        case = replace(base, plan=plan, recipe=recipe)
        if not _possible(base, case):
            continue
        found = Advice(change=text, prediction=predict(case))
        if recipe.tokens_per_step <= floor * found.prediction.bound.step_s:
            continue
        if best is None or _faster(found, best):
            best = found
        if _computes(found.prediction):
            break  # more of the same takes nothing from what computes
    return best


def _faster(found: Advice, best: Advice) -> bool:
    return found.prediction.tokens_per_s > best.prediction.tokens_per_s * _ALIKE


def _possible(base: Case, case: Case) -> bool:
    """A change that is allowed, and has room."""
    if (case.plan, case.recipe) == (base.plan, base.recipe):
        return False
    if refusal(case.plan, case.recipe) is not None:
        return False
    return all(place.fits for place in fits(case.memory, case.machine))


def _fields(base: Prediction) -> Iterator[Iterator[_Change]]:
    """By field: the values that may help, those that change least first."""
    case = base.case
    if case.plan.policy is not Policy.ZO2:
        yield _zo2(case)
    yield _devices(case)
    yield _placement(case)
    yield _lane_groups(case)
    yield _microbatches(case)
    if not base.fit:
        yield _smaller(case)
    elif not _binds(base, but=()):
        yield _more_slots(case)
    if not _binds(base, but=(Resource.COMPUTE,)):
        yield _more_scratch(case)
    if not base.fit or not _computes(base):
        yield _write_back(case)
        yield _resident(case)
    yield _four_bits(case)
    yield _on_host(case)


def _binds(base: Prediction, *, but: tuple[str, ...]) -> bool:
    """Some resource other than ``but`` is busy all the time: no other order gains much."""
    apart = (DEPENDENCIES, *but)
    limits = (s for name, s in base.bound.limits_s.items() if name not in apart)
    return max(limits, default=0.0) * WORTH >= base.step_s


def _computes(base: Prediction) -> bool:
    return base.bound.limits_s.get(Resource.COMPUTE, 0.0) * WORTH >= base.step_s


def _zo2(case: Case) -> Iterator[_Change]:
    own = replace(case.recipe, noise="gaussian", perturbation="scratch", reference="none")
    yield "--policy zo2", replace(case.plan, policy=Policy.ZO2, pinning="auto"), own


def _devices(case: Case) -> Iterator[_Change]:
    """All that the machine has."""
    node, plan = case.machine.node, case.plan
    if node is not None and plan.devices < node.devices:
        wider = of_usual_devices(case.machine, plan, case.recipe, ())
        yield f"--devices {wider.devices}", wider, case.recipe


def _placement(case: Case) -> Iterator[_Change]:
    """Another way to share the work; a ring with as many groups as it has where nobody says."""
    for placement in get_args(Placement) if case.plan.devices > 1 else ():
        plan = replace(case.plan, placement=placement, lane_groups=1)
        if placement != case.plan.placement:
            yield f"--placement {placement}", _regrouped(case, plan, case.recipe), case.recipe


def _lane_groups(case: Case) -> Iterator[_Change]:
    """Each device has a group while others have theirs."""
    most = min(case.recipe.microbatches, case.plan.devices)
    if case.plan.placement == "ring" and most > case.plan.lane_groups:
        yield f"--lane-groups {most}", replace(case.plan, lane_groups=most), case.recipe


def _regrouped(case: Case, plan: Plan, recipe: Recipe) -> Plan:
    """The plan that the command takes where nobody says how many groups there are on a ring."""
    return of_usual_devices(case.machine, plan, recipe, ("devices",))


def _microbatches(case: Case) -> Iterator[_Change]:
    """More work per upload; the most that is looked at, and less of it where that has no room."""
    usual = _regrouped(case, case.plan, case.recipe) == case.plan
    for factor in (16, 4):
        more = case.recipe.microbatches * factor
        recipe = replace(case.recipe, microbatches=more)
        plan = _regrouped(case, case.plan, recipe) if usual else case.plan
        yield f"--microbatches {more}", plan, recipe
        if _possible(case, replace(case, plan=plan, recipe=recipe)):
            return


def _smaller(case: Case) -> Iterator[_Change]:
    """What takes less room, and more time."""
    yield "--num-slots 1", replace(case.plan, num_slots=1), case.recipe
    if case.machine.nvme is not None:
        yield "--tier nvme", replace(case.plan, tier="nvme"), case.recipe


def _more_slots(case: Case) -> Iterator[_Change]:
    slots = case.plan.num_slots + 1
    yield f"--num-slots {slots}", replace(case.plan, num_slots=slots), case.recipe


def _more_scratch(case: Case) -> Iterator[_Change]:
    yield "--scratch-copies 2", replace(case.plan, scratch_copies=2), case.recipe


def _write_back(case: Case) -> Iterator[_Change]:
    for every in (2, 8) if 8 * case.model.num_blocks <= _MOST_VISITS else (2,):
        plan = replace(case.plan, write_back_every=every)
        yield f"--write-back-every {every}", plan, case.recipe


def _resident(case: Case) -> Iterator[_Change]:
    for share in (4, 2, 1) if case.plan.policy.traits.streams else ():
        stay = case.model.num_blocks // share
        yield f"--resident-blocks {stay}", replace(case.plan, resident_blocks=stay), case.recipe


def _four_bits(case: Case) -> Iterator[_Change]:
    """What is frozen may be stored in four bits."""
    if case.recipe.frozen_blocks:
        recipe = replace(case.recipe, storage_dtype=Dtype.INT4)
        yield "--storage-dtype int4", case.plan, recipe


def _on_host(case: Case) -> Iterator[_Change]:
    """An update on the host needs a narrow wire to pay."""
    plan = replace(case.plan, policy=Policy.HOST_UPDATE)
    recipe = replace(case.recipe, wire_dtype=Dtype.FP8)
    yield "--policy host_update --wire-dtype fp8", plan, recipe
