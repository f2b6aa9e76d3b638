"""Plans a step away from one, and the climb over them to better ones.

Where operations contend, bounds are far below step times, and plans of equal bounds are alike: all
that best-first simulates is of one kind. How long others take is found by trying them.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from zo2sim.search.candidates import Candidates
from zo2sim.search.ledger import Ledger
from zo2sim.simulate.steady import Numbers


def climb(
    ledger: Ledger, among: Numbers, start: int, *, tolerance: float, spent: Callable[[], bool]
) -> None:
    """From a known plan on to better neighbours, of ``among``, until none is better, or the effort
    is ``spent``.

    A neighbour whose bound leaves no more than the tolerance to gain is not looked at.
    """
    near, best = Neighbours(ledger.candidates, among), start
    while True:
        limit = ledger.cost_of(best) / (1 + tolerance)
        better = _better(ledger, near.of(best), limit, spent)
        if better is None:
            return
        best = better


def _better(
    ledger: Ledger, near: Iterable[int], limit: float, spent: Callable[[], bool]
) -> int | None:
    """The first that costs less than the limit."""
    for one in near:
        while ledger.cost_of(one) < limit:
            if ledger.known[one]:
                return one
            if spent():
                return None
            ledger.look_closer(one, alone=True)
    return None


class Neighbours:
    """Those of a plan, among some of the candidates."""

    def __init__(self, candidates: Candidates, among: Numbers) -> None:
        self._candidates = candidates
        self._among = among
        self._core, self._slots = candidates.core[among], candidates.slots[among]
        self._residents = candidates.residents[among]
        self._places = np.array([candidates.space.place(core) for core in candidates.cores])

    def of(self, number: int) -> Iterator[int]:
        """With as many resident blocks as there is room for; a step away on each other axis, with
        about as many as now; one step more of them, and one less."""
        found, space = self._candidates, self._candidates.space
        core, slots = int(found.core[number]), int(found.slots[number])
        residents = int(found.residents[number])
        yield from self._nearest(core, slots, space.residents[-1])
        steps = np.abs(self._places - self._places[core]).sum(axis=1)
        for other in np.flatnonzero(steps == 1).tolist():
            yield from self._nearest(other, slots, residents)
        for other in _beside(space.slots, slots):
            yield from self._nearest(core, other, residents)
        for other in _beside(space.residents, residents):
            yield from self._nearest(core, slots, other)

    def _nearest(self, core: int, slots: int, residents: int) -> Iterator[int]:
        """The plan that comes closest to so many resident blocks, where there is one."""
        alike = np.flatnonzero((self._core == core) & (self._slots == slots))
        if len(alike):
            off = np.abs(self._residents[alike] - residents)
            yield int(self._among[alike[off.argmin()]])


def _beside(values: tuple[int, ...], value: int) -> tuple[int, ...]:
    """The next larger value, and the next smaller."""
    at = values.index(value)
    return values[at + 1 : at + 2] + values[max(at - 1, 0) : at]
