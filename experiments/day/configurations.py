"""Eight configurations of one model, and of a large one, by what binds on the machine at hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from experiments.campaign.designs import opt, recipe
from experiments.campaign.recorded_run import case_of
from experiments.day.sizes import Sizes
from zo2rt.measure.runs import RunSpec
from zo2sim.dtypes import Dtype
from zo2sim.machines.machine import Machine
from zo2sim.memory.account import fits
from zo2sim.plan.choices import Plan, Policy, Recipe

LARGE = "large"
_BOUND = 3.0
"""How far from balance of compute and link a configuration is that one of them binds."""
_PASSES = 2.0  # forwards per step
_LEAST_TOKENS = 16
_STREAMED = Plan(num_slots=3)
"""With two, a slot's round trip takes longer than the link."""
_LARGE_SHARE = 0.6  # of the host's free memory

Design = Callable[[], RunSpec]


def designs(machine: Machine, sizes: Sizes, large_bytes: float) -> dict[str, Design]:
    """By name, in the order in which they run; the large model comes last, as it may fail.

    ``large_bytes`` is what the weights of the large model may take.
    """
    half = Dtype.FP16 if machine.device.bf16_flops_per_s is None else Dtype.BF16
    balance = balanced_tokens(machine, half)
    few, many = (_load(tokens, sizes) for tokens in (balance / _BOUND, balance * _BOUND))
    config = opt(sizes.width, sizes.layers, vocab=sizes.vocab)

    def design(plan: Plan, load: Recipe, dtype: Dtype = half, **more: Any) -> Design:
        how = replace(_stored(load, dtype, sizes), **more)
        return lambda: RunSpec(name="", config=config, plan=plan, recipe=how)

    found = {
        "resident": design(Plan(policy=Policy.RESIDENT), few),
        "zo2, compute-bound": design(_STREAMED, many),
        "zo2, link-bound": design(_STREAMED, few),
        "zo2, write-back every 4": design(replace(_STREAMED, write_back_every=4), few),
        "zo2, pageable": design(replace(_STREAMED, pinning="pageable"), few),
        "zo2, LoRA": design(_STREAMED, few, trainable="lora:8"),
        "zo2, fp32": design(_STREAMED, few, Dtype.FP32),
        LARGE: lambda: _large(half, sizes, large_bytes),
    }
    return {
        name: lambda n=name, d=own: _fitting(replace(d(), name=n), machine)
        for name, own in found.items()
    }


def balanced_tokens(machine: Machine, dtype: Dtype) -> float:
    """Tokens per step for which a block computes as long as it travels."""
    device, link = machine.device, machine.link
    gemm, left = device.gemm_flops_per_s, device.sustained_ratio
    rate = (gemm or device.flops_per_s(dtype)).value * (1.0 if left is None else left.value)
    return rate * dtype.bytes / (2.0 * _PASSES * link.both_h2d_bytes_per_s.value)


def _load(tokens: float, sizes: Sizes) -> Recipe:
    count = max(1.0, min(tokens, float(sizes.most_tokens)))
    sequence = int(min(max(count, _LEAST_TOKENS), sizes.sequence))
    return recipe(batch=max(1, round(count / sequence)), sequence=sequence)


def _stored(load: Recipe, dtype: Dtype, sizes: Sizes) -> Recipe:
    compute = dtype if sizes.compute is None else sizes.compute
    return replace(load, storage_dtype=dtype, wire_dtype=dtype, compute_dtype=compute)


def _large(dtype: Dtype, sizes: Sizes, large_bytes: float) -> RunSpec:
    """As deep as memory and time allow; one sequence, so that its link binds."""
    block_bytes = 12.0 * sizes.large_width**2 * dtype.bytes
    layers = max(3, min(sizes.most_layers, int(large_bytes / block_bytes)))
    return RunSpec(
        name=LARGE,
        config=opt(sizes.large_width, layers, vocab=sizes.vocab),
        plan=_STREAMED,
        recipe=_stored(_load(sizes.sequence, sizes), dtype, sizes),
    )


def large_bytes(free_bytes: float, seconds: float, sizes: Sizes) -> float:
    """What a model may take that memory holds, and that is set up and stepped in time."""
    return min(_LARGE_SHARE * free_bytes, seconds * sizes.large_bytes_per_s)


def _fitting(spec: RunSpec, machine: Machine) -> RunSpec:
    """With as few sequences as the device has room for."""
    batch = spec.recipe.batch
    while batch > 1 and not all(p.fits for p in fits(case_of(spec, machine).memory, machine)):
        batch //= 2
        spec = replace(spec, recipe=replace(spec.recipe, batch=batch))
    return spec
