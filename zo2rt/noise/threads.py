"""Ranges over our own threads: the same bits for every number of ranges.

Elements have addresses, so ranges share nothing. numba's own parallel loops are not used: two
calls at once would abort the process.
"""

from collections.abc import Callable
from concurrent.futures import Executor, wait
from itertools import pairwise

from zo2rt.noise.buffers import Buffer, check_equal_lengths, flat
from zo2rt.noise.extent import Extent

_ALIGNMENT = 128
"""Elements of one rademacher call; no call is then computed twice, and no cache line shared."""


def split(
    executor: Executor,
    num_ranges: int,
    work: Callable[..., None],
    place: Extent,
    *buffers: Buffer,
) -> None:
    """Call ``work(*pieces, place_of_the_pieces)`` for each range at the same time, and wait.

    The buffers are of equal length and are cut at the same elements. The work is usually
    ``partial(perturb, key=..., coefficient=..., kind=...)`` with out and theta, or
    ``partial(update, updates=..., kind=...)`` with theta. An error in a range reaches the caller.
    """
    if num_ranges < 1:
        raise ValueError(f"num_ranges must be a whole number >= 1; got {num_ranges!r}")
    pieces = [flat(buffer) for buffer in buffers]
    total = check_equal_lengths(*pieces)
    calls = -(-total // _ALIGNMENT)
    bounds = [min(total, calls * i // num_ranges * _ALIGNMENT) for i in range(num_ranges + 1)]
    futures = [
        executor.submit(work, *(buffer[start:stop] for buffer in pieces), place.advanced(start))
        for start, stop in pairwise(bounds)
        if stop > start
    ]
    wait(futures)  # nobody may still write when an error is raised
    for future in futures:
        future.result()
