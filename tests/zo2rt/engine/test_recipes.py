"""Recipes beyond one dtype and scratch: every plan still gives the bits of `resident`."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.families import batch, build
from tests.thorough import crossed
from tests.zo2rt.engine.engine_runs import (
    DEFERRED,
    LANES,
    OPTIMIZER,
    Run,
    engine,
    recipe,
    resident,
    run,
    same,
)
from zo2rt.backends import Backend, HostBackend, VirtualBackend
from zo2rt.engine.engine import MezoSgd
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe

RESIDENT = Plan(policy=Policy.RESIDENT)
HOST = Plan(policy=Policy.HOST_UPDATE)
BACKENDS = (VirtualBackend, HostBackend)
IN_PLACE = {
    "zo2": Plan(),
    "one slot": Plan(num_slots=1),
    "one block resident": Plan(resident_blocks=1),
    "dual": Plan(policy=Policy.DUAL),
    "naive": Plan(policy=Policy.NAIVE),
    "update in a trip of its own": Plan(deferred_update=False),
}


def compared(family: str, plan: Plan, how: Recipe, backend: type[Backend] = VirtualBackend) -> Run:
    want = resident(family, how)
    same(run(family, plan, how, backend), want)
    return want


@pytest.mark.parametrize(
    ("name", "family", "backend", "noise"),
    crossed([*IN_PLACE], ["opt", "llama"], BACKENDS, ["gaussian", "torch"]),
)
def test_in_place_streams_with_the_bits_of_resident(
    name: str, family: str, backend: type[Backend], noise: Any
):
    how = recipe(perturbation="in_place", noise=noise, microbatches=LANES)
    compared(family, IN_PLACE[name], how, backend)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_in_place_takes_several_samples(family: str):
    compared(family, Plan(), recipe(perturbation="in_place", noise="torch", samples=2))


@pytest.mark.parametrize(("copies", "backend"), crossed([1, 2], BACKENDS))
def test_mezo_s_noise_works_in_scratch_too(copies: int, backend: type[Backend]):
    compared("gpt2", Plan(scratch_copies=copies), recipe(noise="torch", samples=2), backend)


@pytest.mark.parametrize(
    ("dtypes", "copies", "resident_blocks", "backend"),
    crossed(
        [
            (Dtype.BF16, Dtype.FP32),
            (Dtype.BF16, Dtype.BF16),
            (Dtype.FP16, Dtype.BF16),
            (Dtype.FP8, Dtype.FP32),
            (Dtype.FP8, Dtype.BF16),
        ],
        [1, 2],
        [0, 1],
        BACKENDS,
    ),
)
def test_a_narrow_wire_changes_every_block_alike(
    dtypes: tuple[Dtype, Dtype], copies: int, resident_blocks: int, backend: type[Backend]
):
    wire, compute = dtypes
    how = Recipe(storage_dtype=Dtype.FP32, wire_dtype=wire, compute_dtype=compute, samples=LANES)
    both = replace(HOST, scratch_copies=copies, resident_blocks=resident_blocks)
    got = compared("llama-tied", both, how, backend)
    assert got.losses != resident("llama-tied", recipe(samples=LANES)).losses


@pytest.mark.parametrize("plan", [Plan(), DEFERRED, HOST], ids=str)
def test_masters_may_be_wider_than_what_computes(plan: Plan):
    how = Recipe(storage_dtype=Dtype.FP32, wire_dtype=Dtype.FP32, compute_dtype=Dtype.BF16)
    compared("gpt2", plan, how)


def mezo(model: nn.Module, data: list[dict[str, Tensor]], seeds: list[int]) -> list[float]:
    """Algorithm 1 of MeZO (arXiv:2305.17333) on the whole model; returns every loss."""
    losses: list[float] = []
    parameters = [(n, p) for n, p in model.named_parameters() if p.requires_grad]

    def shift(seed: int, scale: float) -> None:
        torch.manual_seed(seed)
        for _, p in parameters:
            z = torch.normal(mean=0, std=1, size=p.data.size(), dtype=p.data.dtype)
            p.data = p.data + scale * z * OPTIMIZER.eps

    with torch.no_grad():
        for one, seed in zip(data, seeds, strict=True):
            for scale in (1, -2):
                shift(seed, scale)
                losses.append(float(model(**one).loss.double()))
            shift(seed, 1)
            g = (losses[-2] - losses[-1]) / (2 * OPTIMIZER.eps)
            torch.manual_seed(seed)
            for _, p in parameters:
                z = torch.normal(mean=0, std=1, size=p.data.size(), dtype=p.data.dtype)
                decay = OPTIMIZER.weight_decay if p.dim() > 1 else 0.0
                p.data = p.data - OPTIMIZER.lr * (g * z + decay * p.data)
    return losses


@pytest.mark.parametrize(
    ("family", "dtype", "plan"),
    crossed(
        ["opt", "gpt2", "llama", "llama-tied", "bert"],
        [Dtype.FP32, Dtype.BF16],
        [RESIDENT, Plan(), Plan(policy=Policy.NAIVE)],
    ),
)
def test_torch_noise_in_place_is_the_textbook_s_mezo(family: str, plan: Plan, dtype: Dtype):
    torch_dtype = torch.float32 if dtype is Dtype.FP32 else torch.bfloat16
    model, twin = (build(family, dtype=torch_dtype) for _ in range(2))
    data, seeds = [batch(family, seed=s) for s in range(3)], [11, 0, 2**40 + 5]
    want = mezo(twin, data, seeds)
    how = recipe(dtype, noise="torch", perturbation="in_place")
    losses: list[float] = []
    with engine(model, plan, how, data[0], HostBackend) as trained:
        for one, seed in zip(data, seeds, strict=True):
            trained.step(one, seed=seed)
            losses += trained.record.losses
    assert losses == want
    for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q), name


def test_stochastic_rounding_moves_what_rounding_to_nearest_leaves():
    swallowed: list[float] = []
    for stochastic in (False, True):
        optimizer = MezoSgd(lr=1e-7, seed=1, stochastic_rounding=stochastic)
        model, data = build("opt", dtype=torch.bfloat16), batch("opt")
        with engine(model, Plan(), recipe(Dtype.BF16), data, optimizer=optimizer) as trained:
            for _ in range(8):  # some of the matrices are looked at
                trained.step(data)
            trained.flush()
            assert trained.swallowed is not None
            swallowed.append(trained.swallowed)
    assert 0.5 < swallowed[1] < swallowed[0] <= 1.0
