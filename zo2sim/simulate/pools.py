"""Capacities that several flows share, divided max-min fair.

Progressive filling (Bertsekas and Gallager, Data Networks, section 6.5.2): the flows rise together
until one is as fast as it can be, or a pool is full; what is then settled stays, the others rise
on. No flow could get more without another one that has no more getting less.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

PLENTY = 0.999
"""Share of a pool below which nobody gets less than it wants, whatever the rounding."""

P = TypeVar("P", bound=Hashable)
"""What names a pool."""


@dataclass(frozen=True, slots=True)
class Flow(Generic[P]):
    """What one operation draws: its speed where nothing is shared, in shares of itself per second,
    and how much of every pool the whole of it takes, above 0.

    Flows rise alike in what they draw from the pool that they draw most from.
    """

    speed: float
    amounts: Mapping[P, float]

    @property
    def size(self) -> float:
        """The largest of its amounts."""
        return max(self.amounts.values(), default=0.0)


def rates(flows: Sequence[Flow[P]], capacities: Mapping[P, float]) -> list[float]:
    """Every flow's speed, in shares per second, in order.

    A flow that draws from no pool goes at its own speed. Raises ``KeyError`` for a pool without a
    capacity.
    """
    speeds = [flow.speed for flow in flows]
    free = _short(flows, capacities)
    if not free:
        return speeds
    sizes = [flow.size for flow in flows]
    rising = [n for n, flow in enumerate(flows) if any(pool in free for pool in flow.amounts)]
    rising.sort(key=lambda n: speeds[n] * sizes[n])
    drawing = {
        pool: {n: a[pool] / sizes[n] for n in rising if pool in (a := flows[n].amounts)}
        for pool in free
    }
    levels = {pool: _level(room, drawing[pool].values()) for pool, room in free.items()}
    while rising:
        first = min(levels, key=levels.__getitem__)
        settled, level = rising[0], levels[first]
        if speeds[settled] * sizes[settled] > level:  # nobody is as fast as it can be yet
            settled = next(iter(drawing[first]))
        speeds[settled] = min(speeds[settled], level / sizes[settled])
        rising.remove(settled)
        for pool, amount in flows[settled].amounts.items():
            if pool in free:
                free[pool] -= speeds[settled] * amount
                del drawing[pool][settled]
                levels[pool] = _level(free[pool], drawing[pool].values())
    return speeds


def _short(flows: Sequence[Flow[P]], capacities: Mapping[P, float]) -> dict[P, float]:
    """The capacities of which somebody may get less than it wants."""
    wanted: dict[P, float] = {}
    for flow in flows:
        for pool, amount in flow.amounts.items():
            wanted[pool] = wanted.get(pool, 0.0) + flow.speed * amount
    return {p: capacities[p] for p, sum_ in wanted.items() if sum_ >= PLENTY * capacities[p]}


def _level(room: float, drawing: Iterable[float]) -> float:
    """How far those that rise can rise together until the pool is full."""
    drawn = sum(drawing)
    return room / drawn if drawn > 0.0 else float("inf")
