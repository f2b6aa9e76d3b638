"""ZO2 against MeZO on the same device: how much time offloading costs, size by size."""

from collections.abc import Iterator

from analysis.claims.row import Row
from analysis.claims.setups import tolerance
from analysis.fits.memory import published_claims
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named
from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import replace_all
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.predict.case import Case
from zo2sim.predict.predict import Prediction, predict

CLAIM, MACHINE = "zo2-no-overhead", "a100-pcie-80gb"
FP32_MODEL = "opt-13b"
"""The largest that MeZO holds in fp32 on 80 GB."""
TF32_FLOPS_PER_S = 156e12
"""NVIDIA A100 data sheet."""
NEAR_ONE = 1.0


def overhead_rows() -> Iterator[Row]:
    """Throughput of ZO2 over MeZO, published codes both; MeZO as if it fitted where it does not."""
    for name in published_claims()["zo2-nvml-memory"]["values"]:
        yield _row(name)
    yield _fp32_row()


def _row(name: str) -> Row:
    zo2, mezo = _pair(name, Dtype.FP16, named(MACHINE))
    ratio = float(mezo.step_s / zo2.step_s)
    agrees = ratio >= tolerance("no_overhead")
    return Row(
        claim=CLAIM,
        item=f"fp16 {name}",
        kind="ratio",
        unit="ZO2/MeZO",
        published=NEAR_ONE,
        predicted=ratio,
        agrees=agrees,
        why="" if agrees else _reason(zo2, mezo),
    )


def _reason(zo2: Prediction, mezo: Prediction) -> str:
    """Empty unless the link explains it: what it takes both ways exceeds what is computed."""
    limits = zo2.bound.limits_s
    link_s = max(v for k, v in limits.items() if k.startswith("link"))
    compute_s = limits["compute"]
    if link_s <= compute_s:
        return ""
    link = zo2.case.machine.link
    low, high = link.both_h2d_bytes_per_s.interval
    return (
        f"the link takes {link_s:.2f} s for a step whose compute takes {compute_s:.2f} s: while "
        f"blocks are offloaded, uploads get {link.both_h2d_bytes_per_s.value / 1e9:.1f} of "
        f"{link.h2d_bytes_per_s.value / 1e9:.1f} GB/s on the median host, {low / 1e9:.1f} to "
        f"{high / 1e9:.1f} on others"
    )


def _fp32_row() -> Row:
    """'Clearly more overhead in fp32' is taken as a ratio below that of no overhead."""
    plain, fast = named(MACHINE), _with_tf32()
    ratio, with_tf32 = (_ratio(FP32_MODEL, Dtype.FP32, machine) for machine in (plain, fast))
    limit = tolerance("no_overhead")
    agrees, explained = ratio < limit, with_tf32 < limit
    reason = (
        f"without TF32 fp32 products run at {plain.device.fp32_flops_per_s.value / 1e12:.1f} "
        f"TFLOP/s and hide the copies; with TF32 allowed the ratio is {with_tf32:.2f}"
    )
    return Row(
        claim=CLAIM,
        item=f"fp32 {FP32_MODEL}",
        kind="ratio",
        unit="below",
        published=limit,
        predicted=ratio,
        agrees=agrees,
        why=reason if explained and not agrees else "",
    )


def _with_tf32() -> Machine:
    """Products reach the share of TF32's peak that they do of half precision's."""
    machine = named(MACHINE)
    gemm, half = machine.device.gemm_flops_per_s, machine.device.half_flops_per_s
    reached = TF32_FLOPS_PER_S * (1.0 if gemm is None else gemm.value / half.value)
    return replace_all(
        machine,
        {
            "device.fp32_flops_per_s": TF32_FLOPS_PER_S,
            "device.fp32_gemm_flops_per_s": reached,
        },
    )


def _ratio(name: str, dtype: Dtype, machine: Machine) -> float:
    zo2, mezo = _pair(name, dtype, machine)
    return float(mezo.step_s / zo2.step_s)


def _pair(name: str, dtype: Dtype, machine: Machine) -> tuple[Prediction, Prediction]:
    recipe = Recipe(
        noise="torch",
        perturbation="in_place",
        storage_dtype=dtype,
        wire_dtype=dtype,
        compute_dtype=dtype,
    )
    model = preset(name, tied=False)
    policies = (Policy.ZO2_REFERENCE, Policy.RESIDENT)
    zo2, mezo = (
        predict(Case(model=model, machine=machine, plan=Plan(policy=p), recipe=recipe))
        for p in policies
    )
    return zo2, mezo
