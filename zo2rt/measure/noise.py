"""Noise passes on one core: perturbation and update, by distribution and size.

What one call costs is a constant of the benchmark's own (``bench.``): in a run, where other code
has run in between, it costs more.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import get_args

import torch

from zo2rt.measure.timing import Bench, Work, far
from zo2rt.noise import Distribution, Draw, Extent, Update, perturb, update
from zo2sim.cost.cpu import floats, noise_amounts, pass_amounts

SIZES = (1 << 17, 1 << 19, 1 << 20, 3 << 20)
"""Elements of one tensor: weights, which are no longer in a core's own cache when they are used."""


def passes(sizes: Sequence[int] = SIZES) -> Iterator[Bench]:
    """Every kind at every size; updates with one record, with three, and with three samples.

    Only the last tells a draw from the pass over theta that goes with a record.
    """
    for kind in get_args(Distribution):
        for size in sizes:
            perturbed = _draws(kind, "perturb", size)
            yield _bench(f"{kind} perturb {size}", perturbed, partial(_perturb, kind, size))
            for records, samples in ((1, 1), (3, 1), (1, 3)):
                drawn = _draws(kind, "update", size * records * samples)
                passed = floats(pass_amounts(size, records))
                yield _bench(
                    f"{kind} update {size} x {records} x {samples}",
                    drawn | passed,
                    partial(_update, kind, size, records, samples),
                )


def _draws(kind: Distribution, what: str, elements: int) -> dict[str, float]:
    return floats(noise_amounts(kind, what, elements, calls=0))


def _bench(name: str, taken: dict[str, float], prepare: Callable[[], Work]) -> Bench:
    what = name.split()[1]
    amounts = taken | {"bench.call_s": 1.0}
    return Bench(group=f"{what} in a loop", name=name, amounts=amounts, prepare=prepare)


def _perturb(kind: Distribution, size: int) -> Work:
    thetas, out = _weights(size), torch.empty(size)
    return lambda: perturb(out, next(thetas), Extent(p=3), key=5, coefficient=1e-3, kind=kind)


def _update(kind: Distribution, size: int, count: int, samples: int) -> Work:
    thetas = _weights(size)
    updates = updates_of(count, samples)
    return lambda: update(next(thetas), Extent(p=3), updates=updates, kind=kind)


def updates_of(count: int, samples: int = 1) -> list[Update]:
    """Updates of so many steps, small enough to leave weights finite."""
    draws = [Draw(key=key, g=0.5) for key in range(count + samples)]
    return [
        Update(draws=tuple(draws[step : step + samples]), lr=1e-6, weight_decay=0.0)
        for step in range(count)
    ]


def _weights(size: int) -> Iterator[torch.Tensor]:
    return far(lambda: torch.randn(size), 4 * size)
