"""On a real card, `make gpu`: parity of plans and of noise, page-locked and reserved memory.

The contract of backends and the Triton kernels have their own files, whose `gpu` tests run too.
"""

from functools import cache

import pytest
import torch
from torch import Tensor

from tests.families import batch, build
from tests.zo2rt.engine.engine_runs import OPTIMIZER, Run, engine, recipe, run, same
from tests.zo2rt.noise.noise_cases import KEY, update_of
from zo2rt.backends import CudaBackend
from zo2rt.noise import Extent, perturb, perturb_pair, update
from zo2rt.noise.extent import Distribution
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

PLANS = {
    "zo2": Plan(),
    "one slot, both at once": Plan(num_slots=1, scratch_copies=2),
    "write-back every 3": Plan(write_back_every=3, num_slots=3),
    "one block resident": Plan(resident_blocks=1),
    "dual": Plan(policy=Policy.DUAL),
    "naive": Plan(policy=Policy.NAIVE),
    "host_update": Plan(policy=Policy.HOST_UPDATE),
}
COUNT = 1_000_003


# ---- Engines ----


@cache
def resident(family: str, how: Recipe) -> Run:
    """The run that every plan is compared with, on the card as well."""
    return run(family, Plan(policy=Policy.RESIDENT), how, CudaBackend)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("dtype", [Dtype.FP32, Dtype.BF16])
def test_every_plan_has_the_bits_of_resident(plan: Plan, dtype: Dtype):
    """With host_update the CPU's kernels and the card's give the same update."""
    how = recipe(dtype, microbatches=2)
    same(run("opt", plan, how, CudaBackend), resident("opt", how))


@pytest.mark.parametrize("family", ["llama", "llama-tied", "qwen3", "gpt2"])
def test_every_family_streams_with_the_bits_of_resident(family: str):
    how = recipe(samples=2, noise="rademacher")
    same(run(family, Plan(), how, CudaBackend), resident(family, how))


def test_nothing_more_is_reserved_after_the_second_step():
    model, data = build("opt"), batch("opt")
    reserved_bytes: list[int] = []
    with engine(model, Plan(), recipe(), data, CudaBackend, OPTIMIZER) as trained:
        for _ in range(8):
            trained.step(data)
            reserved_bytes.append(torch.cuda.memory_reserved())
    assert reserved_bytes[2:] == [reserved_bytes[1]] * 6


# ---- Noise ----


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_card_has_the_noise_of_the_cpu(kind: Distribution, dtype: torch.dtype):
    """A million elements of every pass, beginning in the middle of a call."""
    theta = torch.randn(COUNT, generator=torch.Generator().manual_seed(1)).to(dtype)
    expected, found = passes(theta, kind), passes(theta.cuda(), kind)
    assert [torch.equal(a, b.cpu()) for a, b in zip(expected, found, strict=True)] == [True] * 4


def passes(theta: Tensor, kind: Distribution) -> list[Tensor]:
    """W+ alone, W+ and W- together, and theta after updates of one and of two samples."""
    place, theta = Extent(p=3, first_element=77), theta.clone()
    alone, plus, minus = (torch.empty_like(theta) for _ in range(3))
    perturb(alone, theta, place, key=KEY, coefficient=1e-3, kind=kind)
    perturb_pair(plus, minus, theta, place, key=KEY, coefficient=1e-3, kind=kind)
    update(theta, place, updates=[update_of(0, 1), update_of(1, 2)], kind=kind)
    return [alone, plus, minus, theta]


# ---- Memory ----


def test_exactly_the_bytes_that_are_used_are_page_locked():
    """PyTorch's own allocator, which rounds to powers of two, has no part in it."""
    before = torch.cuda.host_memory_stats()
    with CudaBackend() as backend:
        buffers = [backend.host_buffer(nbytes) for nbytes in (5000, 3 << 20)]
        assert all(buffer.is_pinned() for buffer in buffers)
        assert backend.memory().pinned_bytes == 5000 + (3 << 20)
        assert torch.cuda.host_memory_stats() == before
    assert not any(buffer.is_pinned() for buffer in buffers)


def test_memory_that_is_not_page_locked_is_seen():
    with CudaBackend() as backend:
        assert not backend.host_buffer(5000, pinned=False).is_pinned()
