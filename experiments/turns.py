"""Measuring several things in turn: a machine that slows down then slows both sides of a ratio."""

from collections.abc import Callable, Mapping
from time import perf_counter

from experiments.progress import progress_bar
from experiments.spread import Spread

Measure = Callable[[], float]
"""Measures once and returns the value."""


def in_turn(measures: Mapping[str, Measure], rounds: int) -> dict[str, Spread]:
    """Every measure once per round, in the order given."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    with progress_bar() as progress:
        task = progress.add_task("measuring", total=rounds * len(measures))
        for _ in range(rounds):
            for name, measure in measures.items():
                values[name].append(measure())
                progress.advance(task)
    return {name: Spread.of(measured) for name, measured in values.items()}


def timed_s(work: Callable[[], object], *, times: int = 1) -> float:
    """Seconds of one call, on average."""
    start_s = perf_counter()
    for _ in range(times):
        work()
    return (perf_counter() - start_s) / times
