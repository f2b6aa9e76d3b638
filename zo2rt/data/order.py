"""The order of the data: which examples a microbatch reads, from its number alone.

Nothing is remembered between steps, so a run that is resumed reads what it would have read.
"""

from functools import lru_cache

from zo2rt.noise import sample_key


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    """0 .. count - 1 in the order of one epoch: sorted by the noise keys of (seed, epoch, i)."""
    keys = [sample_key(seed, epoch, index) for index in range(count)]
    return tuple(sorted(range(count), key=keys.__getitem__))


def read_by(cursor: int, *, batch: int, count: int, seed: int) -> tuple[int, ...]:
    """Indices of the ``batch`` examples of microbatch ``cursor`` out of ``count``.

    Microbatches follow one another through the epochs: the last one of an epoch goes on into the
    next. Raises ``ValueError`` where there is nothing to read.
    """
    if count < 1:
        raise ValueError(f"there must be at least one example to read; got {count}")
    places = range(cursor * batch, (cursor + 1) * batch)
    return tuple(permutation(seed, place // count, count)[place % count] for place in places)
