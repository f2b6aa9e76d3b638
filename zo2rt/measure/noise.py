"""Noise passes on one core: perturbation and update, by distribution and size.

What one call costs is a constant of the benchmark's own (``bench.``): in a run, where other code
has run in between, it costs more.
"""

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import get_args

import torch

from zo2rt.measure.timing import Bench, Work
from zo2rt.noise import Kind, Place, Record, perturb, update
from zo2sim.cost.cpu import noise_amounts

SIZES = (1 << 17, 1 << 19, 1 << 20, 3 << 20)
"""Elements of one tensor: weights, which are no longer in a core's own cache when they are used."""
_BYTES_IN_TURN = 3e7


def passes(sizes: Sequence[int] = SIZES) -> Iterator[Bench]:
    """Every kind at every size; updates with one record and with three."""
    for kind in get_args(Kind):
        for size in sizes:
            yield _bench(kind, "perturb", size, 1)
            for records in (1, 3):
                yield _bench(kind, "update", size, records)


def _bench(kind: Kind, what: str, size: int, records: int) -> Bench:
    taken = dict(noise_amounts(kind, what, float(size * records), calls=0))
    taken["bench.call_s"] = 1.0
    if what == "update":
        taken["cpu.pass_elements_per_s"] = float(size * records)
    make = _perturb if what == "perturb" else _update
    return Bench(
        group=f"{what} in a loop",
        name=f"{kind} {what} {size} x {records}",
        amounts=taken,
        prepare=lambda: make(kind, size, records),
    )


def _perturb(kind: Kind, size: int, _: int) -> Work:
    thetas, out = _in_turn(size), torch.empty(size)
    return lambda: perturb(out, next(thetas), Place(p=3), key=5, coefficient=1e-3, kind=kind)


def _update(kind: Kind, size: int, count: int) -> Work:
    thetas = _in_turn(size)
    records = [
        Record(
            step=step,
            sample_keys=(step,),
            projected_gradients=(0.5,),
            lr=1e-6,
            weight_decay=0.0,
            eps=1e-3,
        )
        for step in range(count)
    ]
    return lambda: update(next(thetas), Place(p=3), records=records, kind=kind)


def _in_turn(size: int) -> Iterator[torch.Tensor]:
    return cycle([torch.randn(size) for _ in range(max(2, int(_BYTES_IN_TURN / (4 * size))))])
