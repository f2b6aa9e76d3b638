"""MeZO's noise: bit-equal to a textbook loop that seeds the global generator."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from tests.families import batch, build
from tests.thorough import crossed
from zo2rt.model.loss import model_loss
from zo2rt.noise import mezo

SHAPES = ((3, 5), (17,), (), (40, 33), (1,), (16,))
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SEED, EPS, LR, G, DECAY = 123_456_789, 1e-3, 1e-2, 0.7, 0.1
UNDECAYED = ("bias", "layer_norm", "layernorm")
SEEDS = (0, SEED)


def weights(dtype: torch.dtype) -> dict[int, Tensor]:
    """Parameters of several sizes, below and above torch's vector width."""
    shapes = dict(enumerate(map(torch.Size, SHAPES)))
    return {i: torch.linspace(-1, 1, s.numel()).to(dtype).view(s) for i, s in shapes.items()}


# ---- A whole model, as MeZO trains it ----


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that MeZO perturbs, by name and in its order."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def textbook_draws(model: nn.Module, seed: int) -> Iterator[tuple[str, nn.Parameter, Tensor]]:
    """MeZO, Algorithm 1: the global generator, seeded, and one draw per trained parameter."""
    torch.manual_seed(seed)
    for name, theta in model.named_parameters():
        if theta.requires_grad:
            z = torch.normal(
                mean=0, std=1, size=theta.data.size(), device=theta.device, dtype=theta.dtype
            )
            yield name, theta, z


def textbook_perturb(model: nn.Module, seed: int, scale: int) -> None:
    for _, theta, z in textbook_draws(model, seed):
        theta.data = theta.data + scale * z * EPS


def loss_of(model: nn.Module, family: str) -> float:
    with torch.no_grad():
        return float(model_loss(model, batch(family)))


def textbook_step(model: nn.Module, family: str, seed: int) -> list[float]:
    """One step; returns both losses."""
    textbook_perturb(model, seed, 1)
    plus = loss_of(model, family)
    textbook_perturb(model, seed, -2)
    minus = loss_of(model, family)
    textbook_perturb(model, seed, 1)
    g = (plus - minus) / (2 * EPS)
    for name, theta, z in textbook_draws(model, seed):
        if any(part in name for part in UNDECAYED):
            theta.data = theta.data - LR * (g * z)
        else:
            theta.data = theta.data - LR * (g * z + DECAY * theta.data)
    return [plus, minus]


def our_step(model: nn.Module, family: str, seed: int, pool: ThreadPoolExecutor) -> list[float]:
    """The same: parameters in another order for every pass, each in whatever thread is free."""
    parameters = trained(model)
    draws, order = mezo.StepDraws(seed, parameters), random.Random(seed)

    def shuffled() -> list[str]:
        return order.sample(list(parameters), len(parameters))

    def perturb(name: str, scale: float) -> None:
        theta = parameters[name].data
        mezo.perturb(theta, theta, draws.z(name), scale=scale, eps=EPS)

    def update(name: str) -> None:
        decay = 0.0 if any(part in name for part in UNDECAYED) else DECAY
        directions = [((plus - minus) / (2 * EPS), draws.z(name))]
        mezo.update(parameters[name], directions, lr=LR, weight_decay=decay)

    list(pool.map(perturb, names := shuffled(), [1] * len(names)))
    plus = loss_of(model, family)
    list(pool.map(perturb, shuffled(), [-2] * len(names)))
    minus = loss_of(model, family)
    list(pool.map(perturb, shuffled(), [1] * len(names)))
    list(pool.map(update, shuffled()))
    return [plus, minus]


@pytest.mark.parametrize(
    ("family", "dtype"), crossed(["opt", "gpt2", "llama"], [torch.float32, torch.bfloat16])
)
def test_steps_are_the_textbooks_bit_for_bit(family: str, dtype: torch.dtype) -> None:
    theirs, ours = build(family, dtype=dtype), build(family, dtype=dtype)
    for model in (theirs, ours):
        list(model.parameters())[2].requires_grad_(False)
    before = [p.clone() for p in ours.parameters()]
    with ThreadPoolExecutor(3) as pool:
        for seed in SEEDS:
            expected = textbook_step(theirs, family, seed)
            assert our_step(ours, family, seed, pool) == expected
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    changed = [not torch.equal(a, b) for a, b in zip(before, ours.parameters(), strict=True)]
    assert changed == [i != 2 for i in range(len(changed))]


def test_mezos_order_is_that_of_registration() -> None:
    """OPT runs its final norm last and registers it before its blocks; GPT-2 ties its LM head."""
    opt = list(trained(build("opt")))
    assert opt.index("model.decoder.final_layer_norm.weight") < min(
        i for i, name in enumerate(opt) if ".layers." in name
    )
    gpt2 = list(trained(build("gpt2")))
    assert [name for name in gpt2 if "wte" in name or "lm_head" in name] == [
        "transformer.wte.weight"
    ]


# ---- Single parameters ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]])
def test_every_z_is_the_sequential_one(dtype: torch.dtype, order: list[int]) -> None:
    torch.manual_seed(SEED)
    expected = [torch.normal(mean=0.0, std=1.0, size=s, dtype=dtype) for s in SHAPES]
    draws = mezo.StepDraws(SEED, weights(dtype))
    assert all(torch.equal(draws.z(i), expected[i]) for i in order)


def test_threads_may_ask_at_the_same_time() -> None:
    draws = mezo.StepDraws(SEED, weights(torch.float32))
    alone = [draws.z(i) for i in range(len(SHAPES))]
    wanted = [i for i in range(len(SHAPES)) for _ in range(50)]
    random.Random(0).shuffle(wanted)
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(draws.z, wanted))
    assert all(torch.equal(z, alone[i]) for z, i in zip(together, wanted, strict=True))


def test_the_global_generator_is_left_alone() -> None:
    state = torch.manual_seed(SEED + 1).get_state()  # where no other test's draws have left it
    mezo.StepDraws(SEED, weights(torch.float32)).z(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_only_shapes_are_needed() -> None:
    here = weights(torch.bfloat16)
    there = mezo.StepDraws(SEED, {i: theta.to("meta") for i, theta in here.items()})
    draws = mezo.StepDraws(SEED, here)
    assert all(torch.equal(there.z(i), draws.z(i)) for i in here)
    assert [there.z(i).dtype for i in here] == [torch.bfloat16] * len(SHAPES)


def test_scratch_perturbation_leaves_theta_as_it_was() -> None:
    theta, z = torch.ones(50), mezo.StepDraws(SEED, {0: torch.ones(50)}).z(0)
    out = torch.empty(50)
    mezo.perturb(out, theta, z, scale=-1, eps=EPS)
    assert torch.equal(theta, torch.ones(50))
    assert torch.equal(out, theta - z * EPS)


def test_there_and_back_does_not_restore_theta() -> None:
    theta = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    before, z = theta.clone(), mezo.StepDraws(SEED, {0: theta}).z(0)
    for scale in (1, -2, 1):
        mezo.perturb(theta, theta, z, scale=scale, eps=EPS)
    assert 0.3 < (theta != before).float().mean() < 0.6


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_are_summed_in_order_and_averaged(dtype: torch.dtype) -> None:
    theta = weights(dtype)[3]
    zs = [mezo.StepDraws(seed, {0: theta}).z(0) for seed in range(3)]
    gs = [0.7, -1.3, 0.01]
    mean = (gs[0] * zs[0] + gs[1] * zs[1] + gs[2] * zs[2]) / 3
    expected = theta - LR * (mean + DECAY * theta)
    mezo.update(theta, zip(gs, zs, strict=True), lr=LR, weight_decay=DECAY)
    assert torch.equal(theta, expected)


@pytest.mark.parametrize("theta", [0.0, -0.0, 1.0, -1.0, 1e-42])
@pytest.mark.parametrize("z", [0.0, -0.0, 1e-45, 2.0])
def test_no_decay_is_the_formula_without_its_term(theta: float, z: float) -> None:
    """Adding 0 theta could change the sign of a zero; it does not."""
    got = torch.tensor([theta])
    expected = got - LR * (G * torch.tensor([z]))
    mezo.update(got, [(G, torch.tensor([z]))], lr=LR, weight_decay=0.0)
    assert torch.equal(got.view(torch.int32), expected.view(torch.int32))


def test_an_update_needs_a_sample() -> None:
    with pytest.raises(ValueError, match="at least one sample; got none"):
        mezo.update(torch.ones(2), [], lr=LR, weight_decay=0.0)


def test_parameters_that_require_gradients_are_accepted() -> None:
    theta = nn.Parameter(torch.ones(20))
    z = mezo.StepDraws(SEED, {0: theta}).z(0)
    mezo.perturb(theta, theta, z, scale=1, eps=EPS)
    mezo.update(theta, [(G, z)], lr=LR, weight_decay=0.0)
    assert theta.grad_fn is None
