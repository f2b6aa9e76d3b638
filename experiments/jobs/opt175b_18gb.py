"""The preset ``opt175b-18gb``: OPT-175B on every machine within 18 GB, and what 24 GB can do.

Every machine of the catalogue with a GPU is asked about with a link of each generation of PCIe;
other settings are multiplied, and what `zo2sim.plan.refusals` refuses, or a card cannot compute, is
left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import product

from experiments.case.spec import LINK_PCIE, PCIE_GENERATIONS, Spec
from experiments.jobs.job import Job
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named
from zo2sim.memory.runtime import account, slot_bytes
from zo2sim.models.presets import every, resolve
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.refusals import refusal

MODEL = "opt-175b"
BUDGET_BYTES = 18e9
"""18 GB, context and allocator's slack included; a card that has less gives what it has."""
CARD = "rtx-4090-24gb"
"""The card of the user with 24 GB, and of the step that is drawn."""
SEQUENCE = 2048
_ANY_HOST_BYTES = 16 * 2.0**40  # what it needs is compared with amounts of RAM afterwards

MICROBATCHES = (1, 4, 16)
MORE_MICROBATCHES = (2, 8, 32, 64)
"""Asked only of the plainest plan, to find where offloading is hidden."""
WRITE_BACK = (1, 4)

_FP8 = Recipe(storage_dtype=Dtype.FP8, wire_dtype=Dtype.FP8)
_BF16 = Recipe(storage_dtype=Dtype.BF16, wire_dtype=Dtype.BF16, compute_dtype=Dtype.BF16)
FORMATS: Mapping[str, tuple[Policy, Recipe]] = {
    "fp16": (Policy.ZO2, Recipe()),
    "bf16": (Policy.ZO2, _BF16),
    "fp8 master": (Policy.ZO2, _FP8),
    "fp8 wire, fp16 master": (Policy.HOST_UPDATE, Recipe(wire_dtype=Dtype.FP8)),
}
"""A wire narrower than the master needs the update on the host; a narrow master does not."""


def opt175b_18gb() -> Iterator[Job]:
    """Where 18 GB is enough, what a step takes, when offloading is free, what the host needs."""
    yield from within_budget()
    yield from on_a_large_device()
    yield from host_memory()
    yield from breakdown()
    yield Job(question="timeline", label="zo2", spec=_spec(CARD, Plan(), Recipe()))
    yield from with_24gb()


def within_budget() -> Iterator[Job]:
    """Machine x PCIe x format x tier x pinning x microbatches x write-back."""
    choices = product(("ram", "nvme"), ("exact", "pageable"), MICROBATCHES, WRITE_BACK)
    plans = [
        (Plan(tier=tier, pinning=pinning, write_back_every=every), microbatches)
        for tier, pinning, microbatches, every in choices
    ]
    plans += [(Plan(), microbatches) for microbatches in MORE_MICROBATCHES]
    for machine, generation in product(gpus(), PCIE_GENERATIONS):
        for label, (policy, recipe) in FORMATS.items():
            for plan, microbatches in plans:
                own = replace(plan, policy=policy), replace(recipe, microbatches=microbatches)
                plainest = label == "fp16" or microbatches in MICROBATCHES
                if plainest and _possible(machine, *own):
                    spec = _spec(machine, *own, pcie=generation)
                    yield Job(question="budget", label=label, spec=spec)


def on_a_large_device() -> Iterator[Job]:
    """The same steps without offloading, were the device large enough: this runtime, and MeZO."""
    mezo = Recipe(perturbation="in_place", noise="torch")
    for machine in gpus():
        for microbatches in sorted((*MICROBATCHES, *MORE_MICROBATCHES)):
            for label, recipe in (("resident", Recipe()), ("MeZO", mezo)):
                step = replace(recipe, microbatches=microbatches)
                spec = _spec(machine, Plan(policy=Policy.RESIDENT), step)
                yield Job(question="budget_resident", label=label, spec=spec)


def host_memory() -> Iterator[Job]:
    """Ways to hold the weights on the host."""
    ways = {
        "pinned, exact size": Plan(),
        "pinned by PyTorch": Plan(pinning="rounded"),
        "pageable": Plan(pinning="pageable"),
        "NVMe, pinned staging": Plan(tier="nvme"),
        "published code": Plan(policy=Policy.ZO2_REFERENCE),
    }
    for label, plan in ways.items():
        yield Job(question="host_memory", label=label, spec=_spec(CARD, plan, Recipe()))
    yield Job(question="host_memory", label="fp8 master, exact", spec=_spec(CARD, Plan(), _FP8))


def breakdown() -> Iterator[Job]:
    """Plans whose device memory is drawn item by item."""
    plans = {
        "fp16": (Plan(), Recipe()),
        "fp16, 16 microbatches": (Plan(), Recipe(microbatches=16)),
        "fp16, 1 slot": (Plan(num_slots=1), Recipe()),
        "fp16, 2 scratch copies": (Plan(scratch_copies=2), Recipe()),
        "fp8 master": (Plan(), _FP8),
    }
    for label, (plan, recipe) in plans.items():
        yield Job(question="breakdown", label=label, spec=_spec(CARD, plan, recipe))


def with_24gb() -> Iterator[Job]:
    """Every model of the presets on the card with 24 GB, by how its weights are kept."""
    for name in every():
        recipe = Recipe(sequence=min(SEQUENCE, resolve(name).max_positions or SEQUENCE))
        fp8 = replace(recipe, storage_dtype=Dtype.FP8, wire_dtype=Dtype.FP8)
        int4 = replace(recipe, trainable="lora:16", storage_dtype=Dtype.INT4)
        ways = {
            "fp16": (Plan(), recipe),
            "fp16, pinned by PyTorch": (Plan(pinning="rounded"), recipe),
            "fp16, card filled": (Plan(), recipe),
            "fp8 master": (Plan(), fp8),
            "int4, LoRA": (Plan(), int4),
            "fp16, NVMe": (Plan(tier="nvme"), recipe),
        }
        for label, (plan, step) in ways.items():
            slim = _slots_that_fit(name, plan, step)
            own = _filled(name, slim, step) if label == "fp16, card filled" else slim
            room = (("host.memory_bytes", _ANY_HOST_BYTES),)
            spec = Spec(model=name, machine=CARD, plan=own, recipe=step, changes=room)
            yield Job(question="with_24gb", label=label, spec=spec)


@cache
def gpus() -> tuple[str, ...]:
    """Machines that are asked about: of each kind one, as all of the catalogue would take long."""
    return (
        *("a100-pcie-80gb", "a100-sxm-80gb", "h100-sxm-80gb", "h200-sxm-141gb", "l40s-48gb"),
        *("rtx-3090-24gb", "rtx-4090-24gb", "t4-16gb", "v100-sxm-32gb"),
    )


def _spec(machine: str, plan: Plan, recipe: Recipe, *, pcie: int | None = None) -> Spec:
    """OPT-175B within the budget; `resident` gets its memory accounted for and does not fit."""
    room = min(BUDGET_BYTES, named(machine).device.memory_bytes.value)
    changes: tuple[tuple[str, float], ...] = (("device.memory_bytes", room),)
    if pcie is not None:
        changes += ((LINK_PCIE, float(pcie)),)
    return Spec(model=MODEL, machine=machine, plan=plan, recipe=recipe, changes=changes)


def _possible(machine: str, plan: Plan, recipe: Recipe) -> bool:
    lacks_bf16 = named(machine).device.bf16_flops_per_s is None
    unknown = recipe.compute_dtype is Dtype.BF16 and lacks_bf16
    return not unknown and refusal(plan, recipe) is None


def _free_bytes(name: str, plan: Plan, recipe: Recipe) -> int:
    """Room that the plan leaves on the card; negative where it does not fit."""
    device = named(CARD).device
    context_bytes = int(device.context_bytes.value)
    needed = account(resolve(name), plan, recipe, context_bytes=context_bytes).device_bytes
    return int(device.memory_bytes.value) - needed


def _slots_that_fit(name: str, plan: Plan, recipe: Recipe) -> Plan:
    """The plan, with one slot where two are too many."""
    return plan if _free_bytes(name, plan, recipe) >= 0 else replace(plan, num_slots=1)


def _filled(name: str, plan: Plan, recipe: Recipe) -> Plan:
    """As many resident blocks as the card has room for."""
    model, free = resolve(name), _free_bytes(name, plan, recipe)
    block = slot_bytes(model, plan, recipe)
    stay = min(model.num_blocks, max(0, free) // block)
    while stay and _free_bytes(name, replace(plan, resident_blocks=stay), recipe) < 0:
        stay -= 1  # rounding of segments
    return replace(plan, resident_blocks=stay)
