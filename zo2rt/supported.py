"""What the runtime does not execute yet, each with its reason: one table."""

from zo2sim.plan import Plan, Policy, Recipe


def unsupported(plan: Plan, recipe: Recipe) -> str | None:
    """Why the runtime cannot execute a plan that the simulator can predict, or None."""
    table = (
        (plan.tier == "nvme", "tier=nvme is predicted, but not executed yet; use tier=ram"),
        (plan.policy is Policy.ZO2_REFERENCE, "policy=zo2_reference stands for other code"),
        (recipe.recoded, "a wire that differs from storage is not executed yet"),
        (
            recipe.storage_dtype is not recipe.compute_dtype,
            "storage_dtype and compute_dtype must be equal so far",
        ),
        (recipe.perturbation == "in_place", "in_place perturbation is not executed yet"),
        (recipe.noise == "torch", "torch noise is not executed yet; use gaussian or rademacher"),
        (recipe.lora_rank is not None, "LoRA is not executed yet; use trainable=all"),
    )
    return next((reason for applies, reason in table if applies), None)


def check(plan: Plan, recipe: Recipe) -> None:
    """Raise ``ValueError`` with the reason."""
    reason = unsupported(plan, recipe)
    if reason is not None:
        raise ValueError(f"the runtime cannot execute policy={plan.policy}: {reason}")
