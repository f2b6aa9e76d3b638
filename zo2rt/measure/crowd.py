"""Cores that compute at once: how many times as long the same work takes on each of them.

Every thread builds a block's weights from noise and runs tokens through them, as a device does. So
weights come from where a pass has just left them, not from memory; and beside a product another
core computes a product, or draws noise. Threads have blocks of two sizes in turn, so that their
parts meet in every way; each part is timed by itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from statistics import fmean, median
from threading import Barrier
from time import perf_counter

import torch
from torch.nn import functional

from zo2rt.backends.process import intra_op_threads
from zo2rt.measure.timing import far
from zo2rt.noise import Extent, perturb

_TURN_S = 0.05
"""A turn is as long as a step of a small model, in which blocks meet in every way."""
_SIZES = 2
_TOKENS, _HIDDEN, _WIDER = 96, 320, 64
_PRODUCT, _NOISE = "cpu.crowded_ratio", "cpu.crowded_noise_ratio"
_LAUNCH = "cpu.crowded_launch_ratio"

Parts = Mapping[str, float]
"""By constant of the cores, seconds of the part that tells it."""
Work = Callable[[], Parts]


def crowded_ratios(num_threads: int, *, rounds: int) -> dict[str, float]:
    """By constant of the cores: what a thread takes beside others over what it takes alone, the
    median of rounds; at least 1."""
    makes = (_block, _launches)
    return {
        key: ratio
        for make in makes
        for key, ratio in _ratios([make(n % _SIZES) for n in range(num_threads)], rounds).items()
    }


def _ratios(works: Sequence[Work], rounds: int) -> dict[str, float]:
    with intra_op_threads(1), ThreadPoolExecutor(len(works)) as pool:
        found = [*_rounds(pool, works, rounds)]
    return {key: max(1.0, median(one[key] for one in found)) for key in found[0]}


def _rounds(pool: ThreadPoolExecutor, works: Sequence[Work], rounds: int) -> Iterator[Parts]:
    """One of each size alone and all at once, in an order that turns around every time."""
    turns = [*([work] for work in works[:_SIZES]), works]
    for number in range(rounds):
        around = 1 - 2 * (number % 2)
        *alone, beside = [_together_s(pool, turn) for turn in turns[::around]][::around]
        pairs = [*zip(beside, cycle(alone))]
        yield {key: fmean(own[key] / one[key] for own, (one,) in pairs) for key in beside[0]}


def _together_s(pool: ThreadPoolExecutor, works: Sequence[Work]) -> list[Parts]:
    start = Barrier(len(works))
    running = [pool.submit(_each_s, work, start) for work in works]
    return [one.result() for one in running]


def _each_s(work: Work, start: Barrier) -> Parts:
    """Seconds of each part, on average over a while that all begin together."""
    work()
    start.wait()
    end_s, found = perf_counter() + _TURN_S, [work()]
    while perf_counter() < end_s:
        found.append(work())
    return {key: fmean(one[key] for one in found) for key in found[0]}


def _block(size: int) -> Work:
    """A block's six layers: W+ is built of all of them, and then a lane goes through."""
    hidden = _HIDDEN + size * _WIDER
    shapes = [*[(hidden, hidden)] * 4, (4 * hidden, hidden), (hidden, 4 * hidden)]
    weights = [torch.empty(shape) for shape in shapes]
    nbytes = sum(weight.nbytes for weight in weights)
    thetas = far(lambda: [torch.randn(shape) / hidden**0.5 for shape in shapes], nbytes)
    x = torch.randn(_TOKENS, hidden)

    def work() -> Parts:
        start_s = perf_counter()
        for p, (theta, out) in enumerate(zip(next(thetas), weights, strict=True)):
            perturb(out, theta, Extent(p=p), key=5, coefficient=1e-3, kind="gaussian")
        built_s = perf_counter()
        y = x
        for weight in weights:
            y = functional.relu(functional.linear(y, weight))
        return {_NOISE: built_s - start_s, _PRODUCT: perf_counter() - built_s}

    return work


def _launches(_: int) -> Work:
    """Operators of a small model's norms and activations: the interpreter takes most of it."""
    x = torch.randn(80, 64)

    def work() -> Parts:
        start_s = perf_counter()
        for _ in range(20):
            functional.gelu(functional.layer_norm(x, (64,)) + x)
        return {_LAUNCH: perf_counter() - start_s}

    return work
