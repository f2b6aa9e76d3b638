"""Capacities that several flows share, divided max-min fair.

Progressive filling (Bertsekas and Gallager, Data Networks, section 6.5.2): the flows rise together
until one is as fast as it can be, or a pool is full; what is then settled stays, the others rise
on. No flow could get more without another one that has no more getting less.
"""

from collections.abc import Hashable, Mapping, Sequence
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
    while rising:
        level, pool = min(
            ((_level(pool, room, rising, flows, sizes), pool) for pool, room in free.items()),
            key=lambda found: found[0],
        )
        settled = rising[0]
        if speeds[settled] * sizes[settled] > level:  # nobody is as fast as it can be yet
            settled = next(n for n in rising if pool in flows[n].amounts)
        speeds[settled] = min(speeds[settled], level / sizes[settled])
        rising.remove(settled)
        for one, amount in flows[settled].amounts.items():
            if one in free:
                free[one] -= speeds[settled] * amount
    return speeds


def _short(flows: Sequence[Flow[P]], capacities: Mapping[P, float]) -> dict[P, float]:
    """The capacities of which somebody may get less than it wants."""
    wanted: dict[P, float] = {}
    for flow in flows:
        for pool, amount in flow.amounts.items():
            wanted[pool] = wanted.get(pool, 0.0) + flow.speed * amount
    return {p: capacities[p] for p, sum_ in wanted.items() if sum_ >= PLENTY * capacities[p]}


def _level(
    pool: P, room: float, rising: Sequence[int], flows: Sequence[Flow[P]], sizes: Sequence[float]
) -> float:
    """How far the rising flows can rise together until the pool is full."""
    drawn = sum(flows[n].amounts.get(pool, 0.0) / sizes[n] for n in rising)
    return room / drawn if drawn > 0.0 else float("inf")
