"""The slowest link with which some plan of a space is fast enough.

A simulated step need not get shorter with every faster link (two copies may begin to meet), so the
answer is a crossing: a link that is enough, and one just below it that is not. Beside them stands
the link up to which bounds alone rule every plan out: each rate of a bound stands in a
denominator, so what rules out one link rules out all slower ones.

That a link is enough takes one plan to show, that it is not takes every plan. So one plan is
followed down to its own crossing, and only there are all others asked: one of them is followed
next, or the answer is found.
"""

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from zo2sim.machines.what_if import scale_link
from zo2sim.search.candidates import Candidates
from zo2sim.search.least_memory import Unreachable, seconds_per_token
from zo2sim.search.ledger import Ledger
from zo2sim.search.search import Found, best_first, found, work
from zo2sim.search.space import PlanSpace
from zo2sim.simulate.steady import Numbers

FINEST = 0.02
"""Relative distance between the link that is enough and the one that is not."""
_FINEST_BOUND = 0.002
"""The same between the last link that bounds rule out and the first that they do not."""
WIDEST = 64.0
"""Links are looked for from the machine's own divided by this to multiplied by it."""
_GLIMPSES = 3
"""Plans that are simulated on a link before a wider one is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """A link on which no plan comes to more than ``tokens_per_s``."""

    factor: float
    tokens_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastLink:
    """With its link times ``factor`` the machine reaches the target, and ``at`` says how.

    ``below`` fails, within `FINEST` of it; None where the slowest link that is looked at is
    enough. Bounds alone rule out ``never`` and every slower link; None where they rule out none.
    """

    factor: float
    at: Found
    below: Failing | None
    never: float | None

    @property
    def h2d_bytes_per_s(self) -> float:
        """The link's rate to the device, while nothing comes back."""
        return self.at.case.machine.link.h2d_bytes_per_s.value


def least_link(space: PlanSpace, tokens_per_s: float) -> LeastLink | Unreachable:
    """The crossing for all rates of the link scaled together; only plans that fit count.

    Raises ``ValueError`` unless the target is above 0.
    """
    links = _Links.of(space, seconds_per_token(tokens_per_s))
    never = links.never()
    low = never or links.tried(1.0 / WIDEST)
    if isinstance(low, _Reached):
        return LeastLink(factor=low.factor, at=low.at, below=None, never=None)
    high = links.first_above(low.factor)
    if isinstance(high, Failing):
        return Unreachable(tokens_per_s=high.tokens_per_s)
    high, below = links.crossing(low, high)
    return LeastLink(
        factor=high.factor, at=high.at, below=below, never=never.factor if never else None
    )


@dataclass(frozen=True, kw_only=True)
class _Reached:
    """A link that is enough, by the plan ``at``; ``alone`` asks about that plan only."""

    factor: float
    at: Found
    alone: "_Links"


@dataclass(frozen=True, kw_only=True)
class _Links:
    """Plans that fit a machine, on its link times any factor that is asked about.

    Plans that are left out come to no more than ``others_per_s`` tokens per second.
    """

    candidates: Candidates
    limit_s: float
    others_per_s: float

    @classmethod
    def of(cls, space: PlanSpace, limit_s: float) -> "_Links":
        """Those that may cost no more than the limit per token on some link."""
        candidates = Candidates.of(space)
        fitting = np.flatnonzero(candidates.fitting(space.base.machine))
        links = cls(candidates=candidates.only(fitting), limit_s=limit_s, others_per_s=0.0)
        return links.up_to(WIDEST)

    def up_to(self, factor: float) -> "_Links":
        """For slower links than that: without plans whose bounds rule them out there."""
        ledger = self._ledger(factor)
        slow = ledger.cost(self._all) > self.limit_s
        return replace(
            self,
            candidates=self.candidates.only(np.flatnonzero(~slow)),
            others_per_s=max(self.others_per_s, ledger.most_per_s(np.flatnonzero(slow))),
        )

    def never(self) -> Failing | None:
        """The fastest link that bounds rule out; None where they allow the slowest one."""
        links, low, high = self, self._ruled_out(1.0 / WIDEST), WIDEST
        while low is not None and high > low.factor * (1 + _FINEST_BOUND):
            middle = sqrt(high * low.factor)
            tried = links._ruled_out(middle)
            if tried is None:
                high, links = middle, links.up_to(middle)
            else:
                low = tried
        return low

    def tried(self, factor: float) -> _Reached | Failing:
        """The verdict on a link, proved by a plan or by all of them."""
        ledger = self._ledger(factor)
        number = self._enough(ledger)
        return self._failing(factor, ledger) if number is None else self._by(factor, ledger, number)

    def first_above(self, factor: float) -> _Reached | Failing:
        """A faster link than that which is enough: a few plans each on ever wider ones.

        Failing where even the widest is not, for any plan.
        """
        wider = FINEST
        factor *= 1 + wider
        while factor < WIDEST:
            ledger = self._ledger(factor)
            number = self._enough(ledger, simulations=_GLIMPSES)
            if number is not None:
                return self._by(factor, ledger, number)
            wider *= 2
            factor *= 1 + wider
        return self.tried(WIDEST)

    def crossing(self, low: Failing, high: _Reached) -> tuple[_Reached, Failing]:
        """Between one that fails and one that does not: two that lie `FINEST` apart."""
        while True:
            high = high.alone._followed(low, high)
            just_below = high.factor / (1 + FINEST)
            if just_below <= low.factor:
                return high, low
            tried = self.up_to(high.factor).tried(just_below)
            if isinstance(tried, Failing):
                return high, tried
            high = tried

    def _followed(self, low: Failing, high: _Reached) -> _Reached:
        """The slowest link that is enough for these plans alone."""
        while high.factor > low.factor * (1 + FINEST):
            tried = self.tried(sqrt(low.factor * high.factor))
            if isinstance(tried, Failing):
                low = tried
            else:
                high = tried
        return high

    def _ruled_out(self, factor: float) -> Failing | None:
        """Failing where bounds alone say so."""
        ledger = self._ledger(factor)
        for number in best_first(ledger, self._all):
            if ledger.cost_of(number) > self.limit_s:
                break
            if ledger.walked[number]:
                return None
            ledger.look_closer(number)
        return self._failing(factor, ledger)

    def _enough(self, ledger: Ledger, *, simulations: int | None = None) -> int | None:
        """A plan that keeps the limit; the search for it may end at so many simulations."""
        for number in best_first(ledger, self._all):
            if ledger.cost_of(number) > self.limit_s:
                break
            if ledger.reaches(number, self.limit_s):
                return number
            if simulations is not None and ledger.num_simulated >= simulations:
                break
        return None

    def _by(self, factor: float, ledger: Ledger, number: int) -> _Reached:
        one = replace(self, candidates=self.candidates.only(np.array([number])))
        return _Reached(factor=factor, at=found(ledger, number), alone=one)

    def _failing(self, factor: float, ledger: Ledger) -> Failing:
        most = max(self.others_per_s, ledger.most_per_s(self._all))
        return Failing(factor=factor, tokens_per_s=most)

    def _ledger(self, factor: float) -> Ledger:
        machine = self.candidates.space.base.machine
        candidates = self.candidates.on(scale_link(machine, factor))
        return Ledger(candidates, work(candidates, "tokens"))

    @property
    def _all(self) -> Numbers:
        return np.arange(len(self.candidates))
