"""Matrix products and attention on one core, by shape, as a model's layers call them."""

import random
from collections.abc import Iterator

import torch
from torch.nn import functional

from zo2rt.measure.timing import Bench, Work, far
from zo2sim.cost.cpu import Amounts, attention_amounts, floats, gemm_amounts
from zo2sim.models.shapes import Attention

LOOP_LAUNCH = "bench.launch_s"
_ROWS = (16, 32, 64, 96, 128, 192, 256, 384, 512)
_WIDTHS = (192, 256, 384, 512, 640, 768, 1024, 1536, 2048, 3072)
_MOST_FLOPS = 2e9  # of one product: about 20 ms


def _far(weights: int) -> Amounts:
    """Weights come in turn, so each is far when it is read."""
    return {"cpu.spilled_elements_per_s": float(weights)}


def gemms(count: int, *, seed: int) -> Iterator[Bench]:
    """Linear layers of random shapes: rows are tokens of a lane."""
    draw = random.Random(seed)
    while count:
        m, n, k = draw.choice(_ROWS), draw.choice(_WIDTHS), draw.choice(_WIDTHS)
        if 2.0 * m * n * k > _MOST_FLOPS:
            continue
        count -= 1
        yield Bench(
            group="gemm",
            name=f"gemm {m}x{n}x{k}",
            amounts=_in_a_loop({**gemm_amounts(m, n, k, bias=True), **_far(n * k)}),
            prepare=lambda m=m, n=n, k=k: _linear(m, n, k),
        )


def attentions(count: int, *, seed: int) -> Iterator[Bench]:
    """Causal attention of random shapes."""
    draw = random.Random(seed)
    for _ in range(count):
        batch, seq = draw.choice((1, 2, 4)), draw.choice((32, 64, 96, 128, 192, 256, 384, 512))
        heads, dim = draw.choice((4, 6, 8, 12)), draw.choice((32, 64, 128))
        attention = Attention(heads=heads, kv_heads=heads, head_dim=dim)
        taken = attention_amounts(batch, seq, attention)
        yield Bench(
            group="attention",
            name=f"attention {batch}x{seq}x{heads}x{dim}",
            amounts=_in_a_loop(taken),
            prepare=lambda shape=(batch, heads, seq, dim): _attention(*shape),
        )


def _in_a_loop(taken: Amounts) -> dict[str, float]:
    """A launch in a loop of nothing else is cheaper than one in a model: a constant of its own."""
    return floats(taken) | {LOOP_LAUNCH: 1.0}


def _linear(m: int, n: int, k: int) -> Work:
    x, bias = torch.randn(m, k), torch.randn(n)
    weights = far(lambda: torch.randn(n, k), 4 * n * k)
    return lambda: functional.linear(x, next(weights), bias)


def _attention(batch: int, heads: int, seq: int, dim: int) -> Work:
    q, k, v = (torch.randn(batch, seq, heads, dim).transpose(1, 2) for _ in range(3))
    return lambda: functional.scaled_dot_product_attention(q, k, v, is_causal=True)
