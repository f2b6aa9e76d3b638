"""What the runtime does not execute, each with its reason: one table."""

from dataclasses import replace
from functools import partial

from zo2rt.model.units import Units
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Layout, flush, task
from zo2sim.schedule.ops import TAIL, Program
from zo2sim.schedule.verify import unfulfilled

FIRST_ORDER_REASON = "first-order baselines are predicted, to compare with, and never executed"


def unsupported(plan: Plan, recipe: Recipe) -> str | None:
    """Why the runtime cannot execute a plan that the simulator can predict, or None."""
    table = (
        (plan.policy.traits.published, "policy=zo2_reference stands for other code"),
        (
            recipe.noise == "torch" and recipe.plain_dtype is not recipe.compute_dtype,
            "torch noise is drawn in the weights' dtype; set compute_dtype to storage_dtype",
        ),
    )
    return _first(plan, table)


def unsupported_model(plan: Plan, recipe: Recipe, units: Units, forwards: int) -> str | None:
    """The same for a model and its loss, whose evaluation takes ``forwards`` forward passes."""
    in_place = recipe.perturbation == "in_place"
    inner = {p.name for u in units.order if u.number != TAIL for p in u.borrowed}
    table = (
        (not any(u.trained for u in units.order), "no parameter of the model requires gradients"),
        (
            in_place and forwards > 1,
            f"the loss runs the model {forwards} times, and in place a block is W+ only once; use "
            "perturbation=scratch",
        ),
        (
            in_place and bool(inner),
            f"blocks share {', '.join(sorted(inner)[:3])}, which in place would be perturbed "
            "twice; use perturbation=scratch",
        ),
        (
            recipe.trains_scales and not _is_adapted(units),
            "trainable=scales needs linear layers in every block, whose scales train; use "
            "trainable=lora:R beside them, or trainable=all",
        ),
        (
            recipe.lora_rank is not None and not _is_adapted(units),
            f"trainable={recipe.trainable} needs blocks with frozen weights and trained adapters; "
            "add adapters to the model first (peft.get_peft_model), or use trainable=all",
        ),
    )
    return _first(plan, table)


def check(plan: Plan, recipe: Recipe) -> None:
    """Raise ``ValueError`` with the reason."""
    _raise(unsupported(plan, recipe))


def check_model(plan: Plan, recipe: Recipe, units: Units, forwards: int) -> None:
    """Raise ``ValueError`` with the reason."""
    _raise(unsupported_model(plan, recipe, units, forwards))


def check_fulfilled(program: Program, units: Units, layout: Layout) -> None:
    """Raise ``ValueError`` where a program is not what the model, as it is here, needs."""
    about = (layout.shape, layout.plan, layout.recipe)
    asked = replace(task(*about), trained=frozenset(u.number for u in units.order if u.trained))
    lacks = unfulfilled(program, asked, partial(flush, layout))
    if lacks:
        raise ValueError(
            f"policy={layout.plan.policy}: its program must do all that the model asks, once; "
            f"{lacks[0]}; mend the policy, or use another"
        )


def _is_adapted(units: Units) -> bool:
    """Every block owns frozen weights, and borrows trained ones from the head."""
    blocks = [u for u in units.order if u.number >= 0]
    return all(u.parameters and any(p.trainable for p in u.borrowed) for u in blocks)


def _first(plan: Plan, table: tuple[tuple[bool, str], ...]) -> str | None:
    start = f"the runtime cannot execute policy={plan.policy}: "
    return next((start + reason for applies, reason in table if applies), None)


def _raise(reason: str | None) -> None:
    if reason is not None:
        raise ValueError(reason)
