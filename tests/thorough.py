"""How much is tried: in a few minutes at every change, or all of it where ``THOROUGH`` is set.

Both draw from the same strategies and enumerate the same spaces. An ordinary run stops earlier: it
has a quarter of the examples and some members of each space, or of each axis that others cross; a
thorough one has twice as many, and all of them.
"""

import os
from collections.abc import Sequence
from itertools import product
from typing import Any, TypeVar

THOROUGH = bool(os.environ.get("THOROUGH"))
_FEWEST = 10
_T = TypeVar("_T")


def examples(usual: int, *, ordinary: int | None = None) -> int:
    """How many examples are drawn where ``usual`` would be enough to trust a change of its code.

    ``ordinary`` are fewer than an ordinary run draws otherwise: of what takes long.
    """
    if THOROUGH:
        return 2 * usual
    return ordinary or min(usual, max(usual // 4, _FEWEST))


def some_of(everything: Sequence[_T], *, every: int) -> Sequence[_T]:
    """All in a thorough run; else the first and each ``every``-th after it."""
    return everything if THOROUGH else everything[::every]


def crossed(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Every combination in a thorough run; else as many as the first axis has members.

    The others then count along like the digits of a number, the second axis fastest; each member
    of each must come up.
    """
    if THOROUGH:
        return list(product(*axes))
    first, *others = axes
    chosen = [(member, *_digits(number, others)) for number, member in enumerate(first)]
    for axis, seen in zip(axes, zip(*chosen, strict=True), strict=True):
        assert all(member in seen for member in axis), "the first axis must be long enough"
    return chosen


def _digits(number: int, axes: Sequence[Sequence[Any]]) -> list[Any]:
    found: list[Any] = []
    for axis in axes:
        number, digit = divmod(number, len(axis))
        found.append(axis[digit])
    return found
