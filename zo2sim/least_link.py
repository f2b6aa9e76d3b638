"""The slowest link with which some plan of a space is fast enough.

A simulated step need not get shorter with every faster link (two copies may begin to meet), so the
answer is a crossing: a link that is enough, and one just below it that is not. Beside them stands
the link up to which bounds alone rule every plan out: each rate of a bound stands in a
denominator, so what rules out one link rules out all slower ones.
"""

from dataclasses import dataclass, replace
from itertools import chain
from math import sqrt

import numpy as np

from zo2sim.candidates import Candidates
from zo2sim.least_memory import Unreachable, seconds_per_token
from zo2sim.ledger import Ledger
from zo2sim.machine import scale_link
from zo2sim.search import Found, best_first, found, work
from zo2sim.space import Space

FINEST = 0.02
"""Relative distance between the link that is enough and the one that is not."""
_FINEST_BOUND = 0.002
"""The same between the last link that bounds rule out and the first that they do not."""
WIDEST = 64.0
"""Links are looked for from the machine's own divided by this to multiplied by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """A link on which no plan comes to more than ``tokens_per_s``."""

    factor: float
    tokens_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastLink:
    """With its link times ``factor`` the machine reaches the target, and ``at`` says how.

    ``below`` fails, within `FINEST` of it. Bounds alone rule out ``never`` and every slower link.
    Both are None where the slowest link that is looked at is enough.
    """

    factor: float
    at: Found
    below: Failing | None
    never: float | None

    @property
    def h2d_bytes_per_s(self) -> float:
        """The link's rate to the device, while nothing comes back."""
        return self.at.case.machine.link.h2d_bytes_per_s.value


def least_link(space: Space, tokens_per_s: float) -> LeastLink | Unreachable:
    """The crossing for all rates of the link scaled together; only plans that fit count.

    Raises ``ValueError`` unless the target is above 0.
    """
    links = _Links(space, seconds_per_token(tokens_per_s))
    low = never = links.never()
    high = links.first_reached(1.0 / WIDEST if low is None else low.factor * (1 + FINEST))
    if isinstance(high, Failing):
        return Unreachable(tokens_per_s=high.tokens_per_s)
    while low is not None and high.factor > low.factor * (1 + FINEST):
        tried = links.tried(sqrt(high.factor * low.factor))
        if isinstance(tried, Failing):
            low = tried
        else:
            high = tried
    return replace(high, below=low, never=None if never is None else never.factor)


class _Links:
    """The plans of a space that fit, on its machine with any link."""

    def __init__(self, space: Space, limit_s: float) -> None:
        self._limit_s = limit_s
        self._machine = space.base.machine
        self._candidates = Candidates.of(space)
        self._among = np.flatnonzero(self._candidates.fitting(self._machine))
        self._last: tuple[int, ...] = ()

    def tried(self, factor: float) -> LeastLink | Failing:
        """A plan that reaches the target on that link; the one of the last link is tried first."""
        ledger = self._ledger(factor)
        for number in chain(self._last, best_first(ledger, self._among)):
            if ledger.reaches(number, self._limit_s):
                self._last = (number,)
                return LeastLink(factor=factor, at=found(ledger, number), below=None, never=None)
            if ledger.most_per_s(self._among) * self._limit_s < 1.0:
                break
        return Failing(factor=factor, tokens_per_s=ledger.most_per_s(self._among))

    def first_reached(self, factor: float) -> LeastLink | Failing:
        """The first link that is enough, of ever wider ones from that one on."""
        tried = self.tried(factor)
        wider = FINEST
        while isinstance(tried, Failing) and tried.factor < WIDEST:
            wider *= 2
            tried = self.tried(min(WIDEST, tried.factor * (1 + wider)))
        return tried

    def never(self) -> Failing | None:
        """The fastest link that bounds rule out; None where they allow the slowest one."""
        low, high = self._ruled_out(1.0 / WIDEST), WIDEST
        while low is not None and high > low.factor * (1 + _FINEST_BOUND):
            middle = sqrt(high * low.factor)
            tried = self._ruled_out(middle)
            if tried is None:
                high = middle
            else:
                low = tried
        return low

    def _ruled_out(self, factor: float) -> Failing | None:
        ledger = self._ledger(factor)
        for number in best_first(ledger, self._among):
            if ledger.cost_of(number) > self._limit_s:
                break
            if ledger.walked[number]:
                return None
            ledger.look_closer(number)
        return Failing(factor=factor, tokens_per_s=ledger.most_per_s(self._among))

    def _ledger(self, factor: float) -> Ledger:
        candidates = self._candidates.on(scale_link(self._machine, factor))
        return Ledger(candidates, work(candidates, "tokens"))
