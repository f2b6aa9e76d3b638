"""Combinations of plan and recipe that are refused, each with its reason: one table."""

from collections.abc import Callable
from dataclasses import dataclass

from zo2sim.plan.choices import Plan, Policy, Recipe


@dataclass(frozen=True, slots=True)
class Refusal:
    """``applies`` says which pairs are refused, ``reason`` why and what to do instead."""

    applies: Callable[[Plan, Recipe], bool]
    reason: str


def _replays(plan: Plan, _: Recipe) -> bool:
    return plan.write_back_every > 1


def _in_place(recipe: Recipe) -> bool:
    return recipe.perturbation == "in_place"


def _refers(recipe: Recipe) -> bool:
    return recipe.reference != "none"


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        lambda p, r: r.storage_dtype.is_integer and not r.frozen_blocks,
        "weights in an integer format cannot take an update that is smaller than half a step; "
        "train adapters beside them (trainable=lora:R) or their scales (trainable=scales), or use "
        "a float storage_dtype",
    ),
    Refusal(
        lambda p, r: r.trains_scales and not r.storage_dtype.is_integer,
        "trainable=scales trains those of an integer format; set storage_dtype to int8, int4 or "
        "int4_asym, or use trainable=lora:R or all",
    ),
    Refusal(
        lambda p, r: r.recoded and (r.wire_dtype.is_integer or r.storage_dtype.is_integer),
        "an integer format is encoded once, when blocks are loaded, and travels as it is stored; "
        "set storage_dtype to it and leave wire_dtype out",
    ),
    Refusal(
        lambda p, r: _replays(p, r) and _in_place(r),
        "write_back_every > 1 replays records, but in_place perturbation does not restore the "
        "weights exactly; use perturbation=scratch or write_back_every=1",
    ),
    Refusal(
        lambda p, r: _replays(p, r) and r.noise == "torch",
        "write_back_every > 1 needs noise that can be drawn again per element, and torch noise is "
        "sequential; use noise=gaussian or rademacher, or write_back_every=1",
    ),
    Refusal(
        lambda p, r: _replays(p, r) and (p.policy is not Policy.ZO2 or not p.deferred_update),
        "write_back_every > 1 needs the deferred update of policy=zo2: the others write back, or "
        "update on the host, in every step; use policy=zo2 or write_back_every=1",
    ),
    Refusal(
        lambda p, r: p.policy.traits.updates_on_host and (_in_place(r) or r.noise == "torch"),
        "policy=host_update updates a pristine host copy from replayable noise; use "
        "perturbation=scratch and noise=gaussian or rademacher",
    ),
    Refusal(
        lambda p, r: p.policy.traits.updates_on_host and p.tier == "nvme",
        "policy=host_update keeps the master weights in host memory; use tier=ram or policy=zo2",
    ),
    Refusal(
        lambda p, r: r.recoded and p.policy.traits.streams and not p.policy.traits.updates_on_host,
        "a wire that differs from storage never brings the master to the device; use "
        "policy=host_update, or set storage_dtype to the wire's for a narrow master",
    ),
    Refusal(
        lambda p, r: r.recoded and (_in_place(r) or r.noise == "torch"),
        "a wire that differs from storage needs perturbation=scratch and replayable noise: use "
        "noise=gaussian or rademacher",
    ),
    Refusal(
        lambda p, r: r.wire_dtype.bits > r.storage_dtype.bits,
        "wire_dtype must not be wider than storage_dtype: it would carry no more information",
    ),
    Refusal(
        lambda p, r: p.policy.traits.published and p.tier == "nvme",
        "policy=zo2_reference stands for the published code, whose disk path is unused; use "
        "tier=ram or policy=zo2",
    ),
    Refusal(
        lambda p, r: (
            p.policy is not Policy.ZO2 and not (p.overlap and p.reuse_slots and p.deferred_update)
        ),
        "overlap, reuse_slots and deferred_update belong to policy=zo2; switch them off there",
    ),
    Refusal(
        lambda p, r: r.recoded and r.frozen_blocks,
        "frozen blocks are encoded once; set storage_dtype to the wire's",
    ),
    Refusal(
        lambda p, r: _in_place(r) and r.frozen_blocks,
        "adapters and scales are perturbed in scratch, beside frozen weights; use "
        "perturbation=scratch",
    ),
    Refusal(
        lambda p, r: _in_place(r) and r.storage_dtype is not r.compute_dtype,
        "in_place perturbation computes on the stored weights; set compute_dtype to storage_dtype, "
        "or use perturbation=scratch",
    ),
    Refusal(
        lambda p, r: p.policy is Policy.NAIVE and _in_place(r) and r.samples > 1,
        "policy=naive runs W+ of every sample in one trip, and in place a sample starts from what "
        "the one before left after W-; use samples=1, perturbation=scratch, or another policy",
    ),
    Refusal(
        lambda p, r: _refers(r) and not (_in_place(r) and r.noise == "torch"),
        "reference=mezo or zo2 has the bits of published code, which perturbs in place and draws "
        "with torch's generator; use noise=torch and perturbation=in_place, or reference=none",
    ),
    Refusal(
        lambda p, r: _refers(r) and (r.samples > 1 or r.microbatches > 1),
        "reference=mezo or zo2 has the bits of published code, which has one sample and one "
        "microbatch per step; use samples=1 and microbatches=1, or reference=none",
    ),
    Refusal(
        lambda p, r: p.policy.traits.published and (r.samples > 1 or r.microbatches > 1),
        "policy=zo2_reference stands for the published code, which has one sample and one "
        "microbatch per step; use policy=zo2",
    ),
    Refusal(
        lambda p, r: p.policy.traits.published and p.resident_blocks > 0,
        "policy=zo2_reference is accounted for with every block offloaded; use policy=zo2",
    ),
    Refusal(
        lambda p, r: p.policy.traits.published and r.frozen_blocks,
        "policy=zo2_reference updates every weight of every block; use trainable=all or policy=zo2",
    ),
    Refusal(
        lambda p, r: p.devices > 1 and p.policy.traits.published,
        "policy=zo2_reference stands for the published code, which has one device; use policy=zo2",
    ),
    Refusal(
        lambda p, r: p.devices > 1 and p.tier == "nvme",
        "with devices > 1 the drive would serve several staging areas at once, which is not built; "
        "use tier=ram or devices=1",
    ),
    Refusal(
        lambda p, r: p.devices > 1 and (_in_place(r) or r.noise == "torch"),
        "several devices run groups of lanes beside each other, and in place each would start from "
        "what another left, as torch noise would go on from another's; use perturbation=scratch "
        "and noise=gaussian or rademacher, or devices=1",
    ),
    Refusal(
        lambda p, r: p.devices > 1 and p.placement == "sliced" and r.recoded,
        "placement=sliced cuts a block as the device holds it, and a wire that differs from "
        "storage encodes it whole; use placement=ring or whole, or the storage dtype as wire",
    ),
    Refusal(
        lambda p, r: p.lane_groups > 1 and (p.devices == 1 or p.placement != "ring"),
        "lane_groups > 1 lets devices of a ring work at once; with one device, or where each takes "
        "lanes of its own, there is nothing to gain: use lane_groups=1",
    ),
    Refusal(
        lambda p, r: p.lane_parts > r.microbatches,
        "every group of lanes, and every device that takes some, needs a microbatch: use at least "
        "lane_groups of them on a ring, else half as many as devices (an odd number: as many)",
    ),
)


def unread(plan: Plan) -> dict[str, str]:
    """Fields of a plan and a recipe that mean nothing beside another field, and that one."""
    alone = ("placement", "lane_groups") if plan.devices == 1 else ()
    by_policy = dict.fromkeys(_of_policy(plan), f"policy {plan.policy}")
    return by_policy | dict.fromkeys(alone, f"devices {plan.devices}")


def _of_policy(plan: Plan) -> tuple[str, ...]:
    if plan.policy.traits.published:  # the code has its slots, its noise and its place for W+
        return ("num_slots", "scratch_copies", "noise", "perturbation", "reference")
    return () if plan.policy.traits.streams else ("num_slots", "resident_blocks", "pinning", "tier")


def refusal(plan: Plan, recipe: Recipe) -> str | None:
    """The reason why ``plan`` and ``recipe`` cannot be combined, or None."""
    return next((r.reason for r in REFUSALS if r.applies(plan, recipe)), None)


def check(plan: Plan, recipe: Recipe) -> None:
    """Raise ``ValueError`` with the reason when the pair is refused."""
    reason = refusal(plan, recipe)
    if reason is not None:
        raise ValueError(f"policy={plan.policy}: {reason}")
