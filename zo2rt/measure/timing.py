"""How everything here is timed: many things in rounds, so that no disturbance hits one alone."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import median
from time import perf_counter
from typing import TypeVar

from zo2sim.measured import Measured

Work = Callable[[], object]
T = TypeVar("T")
_FAR_BYTES = 3e7


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Something to time. ``prepare`` makes the work, and what that needs, when it is its turn."""

    group: str
    name: str
    amounts: Mapping[str, float]
    prepare: Callable[[], Work]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to look at one thing in one round, and how many rounds to make."""

    rounds: int = 3
    budget_s: float = 0.02
    least: int = 4


def far(make: Callable[[], T], nbytes: float) -> Iterator[T]:
    """Things of ``nbytes`` each in turn: so many that none is still in a core's own cache."""
    return cycle([make() for _ in range(max(2, int(_FAR_BYTES / nbytes)))])


def measure(
    benches: Sequence[Bench],
    effort: Effort,
    *,
    seed: int,
    timed: Callable[[Work, Effort], float] | None = None,
) -> Iterator[Measured]:
    """Every bench once per round, in an order of its own: seconds as ``timed`` has them.

    By default the median of its repeats.
    """
    seconds_of = timed or _middle_s
    order = random.Random(seed)
    for _ in range(effort.rounds):
        for bench in order.sample(benches, len(benches)):
            yield Measured(
                group=bench.group,
                name=bench.name,
                amounts=bench.amounts,
                seconds=seconds_of(bench.prepare(), effort),
                in_loop=True,
            )


def _middle_s(work: Work, effort: Effort) -> float:
    return median(repeated(work, effort))


def repeated(work: Work, effort: Effort) -> list[float]:
    """Durations of the work, in seconds, after one call that does not count."""
    work()
    durations: list[float] = []
    end_s = perf_counter() + effort.budget_s
    while len(durations) < effort.least or perf_counter() < end_s:
        start_s = perf_counter()
        work()
        durations.append(perf_counter() - start_s)
    return durations
