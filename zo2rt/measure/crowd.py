"""Cores that compute at once: how many times as long the same work takes on each of them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from threading import Barrier
from time import perf_counter

import torch
from torch.nn import functional

from zo2rt.backends.process import intra_op_threads
from zo2rt.measure.timing import Work, far
from zo2rt.noise import Extent, perturb

_ROUNDS, _TURN_S = 15, 0.05
_DRAWN = 1 << 19  # elements


def crowded_ratios(num_threads: int, *, rounds: int = _ROUNDS) -> dict[str, float]:
    """By constant of the cores: what a thread takes beside others over what it takes alone, the
    median of turns; at least 1."""
    return {
        "cpu.crowded_ratio": _ratio(_product, num_threads, rounds),
        "cpu.crowded_noise_ratio": _ratio(_noise, num_threads, rounds),
        "cpu.crowded_launch_ratio": _ratio(_launches, num_threads, rounds),
    }


def _ratio(make: Callable[[], Work], num_threads: int, rounds: int) -> float:
    with intra_op_threads(1), ThreadPoolExecutor(num_threads) as pool:
        works = [make() for _ in range(num_threads)]
        return max(1.0, median(_turns(pool, works, rounds)))


def _turns(pool: ThreadPoolExecutor, works: list[Work], rounds: int) -> Iterator[float]:
    """The first piece of work alone and beside the others, turn by turn."""
    alone, together = Barrier(1), Barrier(len(works))
    for _ in range(rounds):
        alone_s = pool.submit(_each_s, works[0], alone).result()
        beside_s = [pool.submit(_each_s, work, together) for work in works]
        yield sum(one.result() for one in beside_s) / len(works) / alone_s


def _each_s(work: Work, start: Barrier) -> float:
    """Seconds of one call, over a while that all begin together."""
    work()
    start.wait()
    start_s, count = perf_counter(), 0
    while perf_counter() < start_s + _TURN_S:
        work()
        count += 1
    return (perf_counter() - start_s) / count


def _product() -> Work:
    """A layer whose weights come from memory, as those of a streamed block do."""
    x, weights = torch.randn(80, 768), far(lambda: torch.randn(768, 768), 4 * 768**2)
    return lambda: functional.linear(x, next(weights))


def _noise() -> Work:
    """W+ of a block's tensor, which comes from memory."""
    thetas, out = far(lambda: torch.randn(_DRAWN), 4 * _DRAWN), torch.empty(_DRAWN)
    return lambda: perturb(out, next(thetas), Extent(p=3), key=5, coefficient=1e-3, kind="gaussian")


def _launches() -> Work:
    """Operators of a small model's norms and activations: the interpreter takes most of it."""
    x = torch.randn(80, 64)

    def work() -> None:
        for _ in range(20):
            functional.gelu(functional.layer_norm(x, (64,)) + x)

    return work
