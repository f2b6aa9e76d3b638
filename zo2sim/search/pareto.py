"""The Pareto front of speed, device memory and host memory: what buys what.

Every plan enters with the least that its step may cost, so it can only be worse than that. Where
all points of the front are simulated, no plan of the space that was left out is better than them
by more than the grain.
"""

import numpy as np

from zo2sim.search.ledger import Ledger
from zo2sim.simulate.steady import Floats, Numbers


def front(
    ledger: Ledger, among: Numbers, *, grain: float, simulations: int, programs: int | None = None
) -> tuple[int, ...]:
    """Plans that are not beaten, from the fastest to the smallest.

    A plan is beaten by one that needs no more memory of either kind and costs no more time, each
    up to the grain (relative; 0: exactly). Entries that the front depends on are simulated, up to
    that many, and so many programs walked; the rest of them stay bounds.
    """
    cells = _Cells(ledger, among, grain)
    begun, walked = ledger.num_simulated, ledger.num_programs
    points = cells.front()
    while ledger.num_simulated - begun < simulations:
        if programs is not None and ledger.num_programs - walked >= programs:
            break
        unknown = [point for point in points if not ledger.known[point]]
        if not unknown:
            break
        ledger.look_closer(min(unknown, key=ledger.cost_of), alone=True)
        points = cells.front()
    return tuple(sorted(points, key=ledger.cost_of))


class _Cells:
    """Plans of equal memory up to the grain, sorted so that what needs less comes first."""

    def __init__(self, ledger: Ledger, among: Numbers, grain: float) -> None:
        self._ledger = ledger
        self._grain = grain
        candidates = ledger.candidates
        device = _steps(candidates.device[among].astype(np.float64), grain)
        host = _steps(candidates.host[among].astype(np.float64), grain)
        order = np.lexsort((candidates.device[among], host, device))
        self._members = among[order]
        self._device, self._host = device[order], host[order]
        new = (np.diff(self._device) != 0) | (np.diff(self._host) != 0)
        self._starts = np.concatenate([[0], np.flatnonzero(new) + 1])

    def front(self) -> list[int]:
        """The best plan of every cell that no cell of less memory beats."""
        costs = self._ledger.cost(self._members)
        least = np.minimum.reduceat(costs, self._starts)
        taken: list[int] = []
        for cell, start in enumerate(self._starts.tolist()):
            before = self._starts[taken]
            smaller = self._host[before] <= self._host[start]
            if not np.any(smaller & (least[taken] <= least[cell] * (1 + self._grain))):
                taken.append(cell)
        return [self._best_of(cell, costs) for cell in taken]

    def _best_of(self, cell: int, costs: Floats) -> int:
        ends = [*self._starts[1:].tolist(), len(costs)]
        start = int(self._starts[cell])
        return int(self._members[start + int(costs[start : ends[cell]].argmin())])


def _steps(nbytes: Floats, grain: float) -> Floats:
    """Sizes that differ by less than the grain get one number."""
    return nbytes if grain == 0.0 else np.floor(np.log(nbytes) / np.log1p(grain))
