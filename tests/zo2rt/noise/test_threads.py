"""Ranges on our own threads: the same bits for every split, order and number of calls at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.thorough import examples
from tests.zo2rt.noise.noise_cases import FORMATS, KEY, KINDS, same_bits, stored, update_of
from zo2rt.noise import Extent, perturb, perturb_pair, split, update
from zo2rt.noise.extent import Distribution
from zo2sim.dtypes import Dtype

_COUNT = 3000
_PLACE = Extent(p=4, first_element=2**35 - 1001)


@pytest.mark.parametrize("num_ranges", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_ranges_changes_no_bit(num_ranges: int, kind: Distribution) -> None:
    theta = torch.linspace(-1, 1, 10_001)
    once, split_up = torch.empty(3, 10_001), torch.empty(3, 10_001)
    one = partial(perturb, key=KEY, coefficient=1e-3, kind=kind)
    two = partial(perturb_pair, key=KEY, coefficient=1e-3, kind=kind)
    one(once[0], theta, _PLACE)
    two(once[1], once[2], theta, _PLACE)
    with ThreadPoolExecutor(4) as pool:
        split(pool, num_ranges, one, _PLACE, split_up[0], theta)
        split(pool, num_ranges, two, _PLACE, split_up[1], split_up[2], theta)
    assert torch.equal(once.view(torch.int32), split_up.view(torch.int32))


class _Job:
    """One of the three functions on buffers of its own."""

    def __init__(self, name: str, dtype: Dtype, kind: Distribution, p: int) -> None:
        self.theta = stored(dtype, _COUNT, p)
        self.buffers = [np.zeros_like(self.theta) for _ in range(_OUTS[name])] + [self.theta]
        work: dict[str, Callable[..., None]] = {
            "perturb": partial(perturb, key=KEY, coefficient=1e-3, kind=kind),
            "perturb_pair": partial(perturb_pair, key=KEY, coefficient=1e-3, kind=kind),
            "update": partial(update, updates=[update_of(1, 2), update_of(2, 1)], kind=kind),
        }
        self._work, self._place = work[name], Extent(p=p, first_element=2**35 - 1001)

    def whole(self) -> list[NDArray[Any]]:
        """The buffers after one call for all of them."""
        self._work(*self.buffers, self._place)
        return self.buffers

    def ranges(self, cuts: list[int]) -> list[Callable[[], None]]:
        """One call per range between the cuts."""
        bounds = sorted({0, *cuts, _COUNT})
        return [
            partial(
                self._work,
                *(buffer[start:stop] for buffer in self.buffers),
                self._place.advanced(start),
            )
            for start, stop in pairwise(bounds)
        ]


_OUTS = {"perturb": 1, "perturb_pair": 2, "update": 0}
_JOBS = st.tuples(st.sampled_from(sorted(_OUTS)), st.sampled_from(FORMATS), st.sampled_from(KINDS))
_CUTS = st.lists(st.integers(0, _COUNT), max_size=4)


@settings(max_examples=examples(30))
@given(st.lists(_JOBS, min_size=2, max_size=5), _CUTS, st.randoms(use_true_random=False))
def test_calls_at_once_in_any_order_give_the_bits_of_one_call_each(
    jobs: list[tuple[str, Dtype, Distribution]], cuts: list[int], random: Any
) -> None:
    alone = [_Job(*job, p) for p, job in enumerate(jobs)]
    together = [_Job(*job, p) for p, job in enumerate(jobs)]
    calls = [call for job in together for call in job.ranges(cuts)]
    random.shuffle(calls)
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(call) for call in calls]
    assert [future.result() for future in futures] == [None] * len(calls)
    for one, other in zip(alone, together, strict=True):
        assert all(map(same_bits, one.whole(), other.buffers))


def test_an_error_in_a_range_reaches_the_caller() -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(TypeError, match="updates"):
        split(pool, 2, partial(update, kind="gaussian"), Extent(p=0), torch.zeros(1000))
