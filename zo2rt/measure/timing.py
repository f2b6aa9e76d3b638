"""Timing a piece of work, and benchmarks in turn: a row of seconds beside what each takes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from time import perf_counter
from typing import TypeVar

from zo2rt.measure.calm import calm_s
from zo2rt.measure.turns import in_turn
from zo2sim.cost.measured import Measured

Work = Callable[[], object]
Measure = Callable[[], float]
"""Measures once and returns the value."""
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

    rounds: int = 5
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
    """A row per bench: its calm seconds over all rounds, each as ``timed`` has them.

    In every round each bench has its turn, in an order of that round. By default a turn's seconds
    are the calm ones of its repeats.
    """
    seconds_of = timed or (lambda work, effort: calm_s(repeated(work, effort)))
    measures = [lambda bench=bench: seconds_of(bench.prepare(), effort) for bench in benches]
    found_s = in_turn(measures, effort.rounds, seed=seed)
    for bench, durations_s in zip(benches, found_s, strict=True):
        yield Measured(
            group=bench.group,
            name=bench.name,
            amounts=bench.amounts,
            seconds=calm_s(durations_s),
            in_loop=True,
        )


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


def timed_s(work: Work, *, times: int = 1) -> float:
    """Seconds of one call, on average."""
    start_s = perf_counter()
    for _ in range(times):
        work()
    return (perf_counter() - start_s) / times
