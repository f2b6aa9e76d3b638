"""What several devices share, over many loads at once: how long each pool takes for a step, and how
slow others ever make an operation.

A flow that has less than it asks for is held by a pool that is full, and nobody who draws from that
pool has risen further (`zo2sim.simulate.pools`). So it has at least its part of the pool, divided
by all tracks that may draw from it at once.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from zo2sim.schedule.ops import Op, Track
from zo2sim.simulate.bounds import pooled_s
from zo2sim.simulate.pools import PLENTY
from zo2sim.simulate.sharing import Pool, capacities, every_draw
from zo2sim.simulate.steady import Floats
from zo2sim.simulate.uncontended import Walk
from zo2sim.simulate.work import Number, Rates, Sharing, Work

Drawn = Mapping[Pool, Floats]


@dataclass(frozen=True, slots=True)
class Alike:
    """Operations of one cost on one device: their class, one of them, how many there are a step."""

    row: int
    op: Op
    per_step: float


def kinds(walk: Walk) -> tuple[Alike, ...]:
    """Every kind of operation of a program, those that only its beginning has with none a step."""
    rows = {walk.like(op): row for row, op in enumerate(walk.classes)}
    first: dict[tuple[int, int], Op] = {}
    counts: defaultdict[tuple[int, int], int] = defaultdict(int)
    for part in (walk.program.period, walk.program.prologue):
        for op in part.ops:
            key = rows[walk.like(op)], op.device
            first.setdefault(key, op)
            counts[key] += part is walk.program.period
    steps = walk.steps_per_period
    return tuple(Alike(key[0], op, counts[key] / steps) for key, op in first.items())


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The kinds of a program with what they cost on one machine, for so many loads."""

    kinds: tuple[Alike, ...]
    works: Sequence[Work]
    rates: Rates
    sharing: Sharing
    loads: int

    def __post_init__(self) -> None:
        assert all(work.in_turn is None for work in self.works), "who takes turns waits longer"

    @cached_property
    def _drawn(self) -> tuple[Drawn, ...]:
        return tuple(self._of(kind) for kind in self.kinds)

    def _of(self, kind: Alike) -> Drawn:
        found: dict[Pool, Floats] = {}
        for pool, amount in every_draw(kind.op, self.works[kind.row], self.sharing):
            found[pool] = found.get(pool, self._none) + amount
        return found

    @cached_property
    def _none(self) -> Floats:
        return np.zeros(self.loads)

    def limits_s(self) -> dict[str, Floats]:
        """What the busiest pool of each sort takes for a step, (loads,), by limit."""
        totals: defaultdict[Pool, Floats] = defaultdict(lambda: self._none)
        for kind, drawn in zip(self.kinds, self._drawn, strict=True):
            for pool, amount in drawn.items():
                totals[pool] = totals[pool] + kind.per_step * amount
        found = [
            pooled_s({pool: float(all_[load]) for pool, all_ in totals.items()}, self.sharing)
            for load in range(self.loads)
        ]
        return {name: np.array([one[name] for one in found]) for name in found[0]}

    def slowest_s(self) -> list[Number]:
        """Of every class the time until its track goes on, however much the others draw."""
        flows = [work.flow_s(self.rates) for work in self.works]
        slow = [flow + self._none for flow in flows]
        for kind, drawn in zip(self.kinds, self._drawn, strict=True):
            size = np.maximum.reduce([self._none, *drawn.values()])
            for pool in drawn.keys() & self._part.keys():
                slow[kind.row] = np.maximum(slow[kind.row], size / self._part[pool])
        return [work.fixed_s + s + work.gap_s for work, s in zip(self.works, slow, strict=True)]

    @cached_property
    def _part(self) -> Mapping[Pool, float]:
        """What each track has at least of the pools of which all together may want more."""
        wanted = self._wanted
        room = capacities(wanted, self.sharing)
        return {
            pool: room[pool] / len(tracks)
            for pool, tracks in wanted.items()
            if np.any(sum(tracks.values()) >= PLENTY * room[pool])
        }

    @cached_property
    def _wanted(self) -> Mapping[Pool, Mapping[Track, Number]]:
        """The most that each track takes of a pool per second when it has it to itself."""
        found: defaultdict[Pool, dict[Track, Number]] = defaultdict(dict)
        for kind, pool, amount in self._amounts():
            rate = amount / self.works[kind.row].flow_s(self.rates)
            of_track = found[pool].get(kind.op.track, 0.0)
            found[pool][kind.op.track] = np.maximum(of_track, rate)
        return found

    def _amounts(self) -> Iterator[tuple[Alike, Pool, Floats]]:
        for kind, drawn in zip(self.kinds, self._drawn, strict=True):
            for pool, amount in drawn.items():
                yield kind, pool, amount
