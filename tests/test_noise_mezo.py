"""MeZO's noise: bit-equal to a textbook loop that seeds the global generator."""

import pytest
import torch
from torch import Tensor

from zo2rt.noise import mezo

SHAPES = ((3, 5), (17,), (), (40, 33), (1,), (16,))
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SEED, EPS, LR, G, DECAY = 123_456_789, 1e-3, 1e-2, 0.7, 0.1


def weights(dtype: torch.dtype) -> list[Tensor]:
    """Parameters of several sizes, below and above torch's vector width."""
    return [torch.linspace(-1, 1, s.numel()).to(dtype).view(s) for s in map(torch.Size, SHAPES)]


def textbook_pass(parameters: list[Tensor], scale: float) -> None:
    """MeZO, Algorithm 1: one in-place perturbation of everything."""
    torch.manual_seed(SEED)
    for theta in parameters:
        z = torch.normal(mean=0.0, std=1.0, size=theta.shape, dtype=theta.dtype)
        theta.data = theta.data + scale * z * EPS


def textbook_step(parameters: list[Tensor]) -> list[list[Tensor]]:
    """One step; returns the weights after each of its four passes."""
    seen: list[list[Tensor]] = []
    for scale in (1, -2, 1):
        textbook_pass(parameters, scale)
        seen.append([theta.clone() for theta in parameters])
    torch.manual_seed(SEED)
    for theta in parameters:
        z = torch.normal(mean=0.0, std=1.0, size=theta.shape, dtype=theta.dtype)
        theta.sub_(LR * (G * z + DECAY * theta))
    return [*seen, parameters]


def our_step(parameters: list[Tensor], order: list[int]) -> list[list[Tensor]]:
    """The same with addressable draws, visiting the parameters in any order."""
    draws, seen = mezo.StepDraws(SEED, parameters), []
    for scale in (1, -2, 1):
        for i in order:
            mezo.perturb(parameters[i], parameters[i], draws.z(i), scale=scale, eps=EPS)
        seen.append([theta.clone() for theta in parameters])
    for i in order:
        mezo.update(parameters[i], draws.z(i), lr=LR, g=G, weight_decay=DECAY)
    return [*seen, parameters]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]])
def test_a_step_is_the_textbooks_bit_for_bit(dtype: torch.dtype, order: list[int]) -> None:
    state = torch.get_rng_state()
    expected = textbook_step(weights(dtype))
    torch.set_rng_state(state)
    got = our_step(weights(dtype), order)
    for ours, theirs in zip(got, expected, strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    mezo.StepDraws(SEED, weights(torch.float32)).z(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_repeat_and_need_only_shapes() -> None:
    on_meta = [theta.to("meta") for theta in weights(torch.bfloat16)]
    draws = mezo.StepDraws(SEED, on_meta)
    first = [draws.z(i) for i in range(len(SHAPES))]
    again = [draws.z(i) for i in reversed(range(len(SHAPES)))][::-1]
    assert all(map(torch.equal, first, again))
    assert [z.dtype for z in first] == [torch.bfloat16] * len(SHAPES)


def test_scratch_perturbation_leaves_theta_as_it_was() -> None:
    theta, z = torch.ones(50), mezo.StepDraws(SEED, [torch.ones(50)]).z(0)
    out = torch.empty(50)
    mezo.perturb(out, theta, z, scale=-1, eps=EPS)
    assert torch.equal(theta, torch.ones(50))
    assert torch.equal(out, theta - z * EPS)


def test_parameters_that_require_gradients_are_accepted() -> None:
    theta = torch.nn.Parameter(torch.ones(20))
    z = mezo.StepDraws(SEED, [theta]).z(0)
    mezo.perturb(theta, theta, z, scale=1, eps=EPS)
    mezo.update(theta, z, lr=LR, g=G, weight_decay=0.0)
    assert theta.grad_fn is None
