"""The least memory with which some plan of a space is fast enough.

Memory only decides which plans fit. So the answer is the smallest need of a plan that reaches the
target, and what fails below it fails with every smaller memory.
"""

from dataclasses import dataclass
from math import inf

import numpy as np

from zo2sim.memory.account import MemoryPlace
from zo2sim.search.candidates import Candidates
from zo2sim.search.ledger import Ledger
from zo2sim.search.search import SAME, Found, found, work
from zo2sim.search.space import PlanSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """No amount is enough: no plan comes to more than ``tokens_per_s``."""

    tokens_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastMemory:
    """``at`` reaches the target; no plan that needs less than ``num_bytes`` at ``place`` does.

    Those come to ``below_tokens_per_s`` at the most, 0 where there is none.
    """

    place: MemoryPlace
    num_bytes: int
    at: Found
    below_tokens_per_s: float


def least_memory(
    space: PlanSpace, place: MemoryPlace, tokens_per_s: float
) -> LeastMemory | Unreachable:
    """The least memory at one place that is enough; elsewhere plans have what the machine has.

    Raises ``ValueError`` unless the target is above 0.
    """
    limit_s = seconds_per_token(tokens_per_s)
    candidates = Candidates.of(space)
    ledger = Ledger(candidates, work(candidates, "tokens"))
    needed = candidates.needed(place)
    among = np.flatnonzero(candidates.fitting(space.base.machine, free=place))
    for number in among[np.lexsort((ledger.cost(among), needed[among]))].tolist():
        if ledger.reaches(number, limit_s):
            below = among[needed[among] < needed[number]]
            return LeastMemory(
                place=place,
                num_bytes=int(needed[number]),
                at=found(ledger, number),
                below_tokens_per_s=ledger.most_per_s(below),
            )
    return Unreachable(tokens_per_s=ledger.most_per_s(among))


def seconds_per_token(tokens_per_s: float) -> float:
    """What a token may cost, up to rounding; ``ValueError`` unless the target is > 0 and finite."""
    if not 0.0 < tokens_per_s < inf:
        raise ValueError(f"a target must be above 0 tokens/s and finite; got {tokens_per_s:g}")
    return (1.0 + SAME) / tokens_per_s
