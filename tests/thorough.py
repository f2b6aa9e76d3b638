"""How much is tried: in a few minutes at every change, or all of it where ``THOROUGH`` is set.

Both draw from the same strategies and enumerate the same spaces. An ordinary run stops earlier: it
has a quarter of the examples and some members of each space; a thorough one has twice as many, and
all of them.
"""

import os
from collections.abc import Sequence
from typing import TypeVar

THOROUGH = bool(os.environ.get("THOROUGH"))
_FEWEST = 10
_T = TypeVar("_T")


def examples(usual: int) -> int:
    """How many examples are drawn where ``usual`` would be enough to trust a change of its code."""
    return 2 * usual if THOROUGH else min(usual, max(usual // 4, _FEWEST))


def some_of(everything: Sequence[_T], *, every: int) -> Sequence[_T]:
    """All in a thorough run; else the first and each ``every``-th after it."""
    return everything if THOROUGH else everything[::every]
