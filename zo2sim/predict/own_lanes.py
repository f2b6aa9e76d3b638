"""A step of several ranks, each of which has the whole model and takes some lanes.

A rank uploads, updates and downloads what one process does. It builds the perturbed weights that
its lanes run with, and runs these lanes; then the losses are exchanged, for which the last rank is
waited for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce

from zo2sim.cost import CostModel
from zo2sim.plan.choices import Recipe
from zo2sim.plan.shares import share
from zo2sim.predict.case import Case
from zo2sim.predict.vectorised import walk_of
from zo2sim.schedule.ops import Kind, Op
from zo2sim.simulate.events import simulate
from zo2sim.simulate.work import Resource, Work

EXCHANGE_S = 4.5e-4
"""Two ranks of one machine over Gloo on the loopback device; measured, see `experiments/LOG.md`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RanksStep:
    """One step of ``ranks`` ranks that have a core, or a card with its own link, each."""

    alone_s: float
    ranks_s: tuple[float, ...]
    exchange_s: float

    @property
    def step_s(self) -> float:
        """The slowest rank, and the exchange."""
        return max(self.ranks_s) + self.exchange_s

    @property
    def speed_up(self) -> float:
        return self.alone_s / self.step_s


def ranks_step(case: Case, ranks: int, *, exchange_s: float = EXCHANGE_S) -> RanksStep:
    """What a step takes; nothing but the exchange is shared.

    Raises ``ValueError`` where there are more ranks than lanes, or the weights are perturbed in
    place, which every rank does for all lanes.
    """
    if case.recipe.perturbation == "in_place" and ranks > 1:
        raise ValueError(
            "ranks are predicted with perturbation=scratch: in place each of them makes every "
            "shift of the weights, whatever its lanes; use perturbation=scratch"
        )
    lanes = [share(case.recipe.num_lanes, rank, ranks) for rank in range(ranks)]
    alone_s = simulate(walk_of(case).program, case.cost, case.cost.rates).step_s
    known = {
        run: _rank_s(case, run) for run in dict.fromkeys(_builds(case.recipe, r) for r in lanes)
    }
    return RanksStep(
        alone_s=alone_s,
        ranks_s=tuple(known[_builds(case.recipe, run)] for run in lanes),
        exchange_s=exchange_s if ranks > 1 else 0.0,
    )


Build = tuple[str, int]
"""Signs whose weights are built together, and microbatches that run with each of them."""


def _builds(recipe: Recipe, lanes: range) -> tuple[Build, ...]:
    """What a run of lanes needs: W+ and W- of a sample together where both run as often."""
    count = recipe.microbatches
    found: list[Build] = []
    for sample in range(recipe.samples):
        first = 2 * sample * count
        plus = _overlap(lanes, range(first, first + count))
        minus = _overlap(lanes, range(first + count, first + 2 * count))
        pairs = [("+-", plus)] if plus == minus else [("+", plus), ("-", minus)]
        found.extend(build for build in pairs if build[1])
    return tuple(found)


def _overlap(one: range, other: range) -> int:
    return max(0, min(one.stop, other.stop) - max(one.start, other.start))


def _rank_s(case: Case, builds: tuple[Build, ...]) -> float:
    full, costs = case.cost, dict(_costs(case, builds))

    def work(op: Op) -> Work:
        if op.kind not in (Kind.BUILD, Kind.FORWARD) or op.lanes == "0":
            return full(op)
        parts = [
            costs[microbatches](replace(op, lanes=signs))
            for signs, microbatches in (_within(op.lanes, build) for build in builds)
            if signs
        ]
        return reduce(_sum, parts) if parts else replace(full(op), fixed_s=0.0, amounts={})

    return simulate(walk_of(case).program, work, full.rates).step_s


def _within(lanes: str, build: Build) -> Build:
    """Of a build what belongs to an operation: a trip of one sign builds one."""
    return "".join(sign for sign in build[0] if sign in lanes), build[1]


def _costs(case: Case, builds: tuple[Build, ...]) -> Iterator[tuple[int, CostModel]]:
    """By number of microbatches: forwards of one sample."""
    for microbatches in {count for _, count in builds}:
        recipe = replace(case.recipe, samples=1, microbatches=microbatches)
        yield microbatches, replace(case, recipe=recipe).cost


def _sum(one: Work, other: Work) -> Work:
    """One after the other in the same operation, whose gap and wake-up are one."""
    amounts: Mapping[Resource, float] = Counter(one.amounts) + Counter(other.amounts)
    return replace(one, fixed_s=one.fixed_s + other.fixed_s, amounts=amounts)
