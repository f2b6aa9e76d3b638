"""What something takes where it is disturbed least: the fastest third of its repeats.

[Note: neighbours] On a virtual machine a neighbour on the same physical core, or on the same cache,
makes everything up to a half longer, for 5 ms to three seconds at a time; nothing in
`/proc` tells. Some hosts are disturbed seldom, some more than half of the time. A disturbance only
ever adds, so undisturbed repeats lie close together at the fast end: there the mean of a third
repeats within half to a third of what a median does. How much longer the median step takes is told
beside it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from statistics import fmean, median

import numpy as np

_DRAWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Seconds of each step that counts, by its number; and of the references' steps meanwhile.

    ``references_s`` is in the order in which the references ran.
    """

    steps_s: Mapping[int, float]
    references_s: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalmStep:
    """The step of a run that nothing disturbs, in the mean over a period.

    ``step_s`` has the machine's drift taken out; ``standard_error`` is relative to it, NaN where
    there was one turn. ``steps_s`` are the steps behind it, as measured. ``disturbance`` is how
    much longer the median step took, and ``drift`` how much longer it took because of drift.
    """

    step_s: float
    standard_error: float
    steps_s: Mapping[int, float]
    disturbance: float
    drift: float


def fastest(count: int) -> int:
    """How many of so many repeats are the fastest third: at least one."""
    return max(1, -(-count // 3))


def calm_s(durations_s: Iterable[float]) -> float:
    """The mean of the fastest third. Raises ``ValueError`` where there are none."""
    ordered = sorted(durations_s)
    if not ordered:
        raise ValueError("at least one duration must have been measured; got none")
    return fmean(ordered[: fastest(len(ordered))])


def calm_step(
    turns: Sequence[Turn], *, period: int, longer: Sequence[float] | None = None
) -> CalmStep:
    """The undisturbed step of a run, from its turns.

    Steps in different places of a period differ, so each place has a fastest third of its own.
    ``longer`` is how many times as long the run's steps took in each turn because the machine had
    drifted (`zo2sim.predict.drift`); None: it had not.
    """
    if not turns:
        raise ValueError("a step needs at least one turn; got none")
    factors = [1.0] * len(turns) if longer is None else longer
    scaled = [
        {step: seconds / factor for step, seconds in turn.steps_s.items()}
        for turn, factor in zip(turns, factors, strict=True)
    ]
    places = _by_place(scaled, period)
    calm = {step for own in places.values() for step in _fastest_of(own)}
    as_measured = {step: seconds for turn in turns for step, seconds in turn.steps_s.items()}
    step_s = _step_s(scaled, period)
    typical_s = fmean(median(own.values()) for own in places.values())
    return CalmStep(
        step_s=step_s,
        standard_error=_standard_error(scaled, period),
        steps_s={step: as_measured[step] for step in sorted(calm)},
        disturbance=typical_s / step_s - 1.0,
        drift=median(factors) - 1.0,
    )


def _step_s(turns: Iterable[Mapping[int, float]], period: int) -> float:
    return fmean(calm_s(own.values()) for own in _by_place(turns, period).values())


def _fastest_of(steps_s: Mapping[int, float]) -> list[int]:
    return sorted(steps_s, key=lambda step: steps_s[step])[: fastest(len(steps_s))]


def _standard_error(turns: Sequence[Mapping[int, float]], period: int) -> float:
    """By the bootstrap over turns (Efron, Annals of Statistics 7, 1979): steps of a turn are alike.

    A resample in which a place of the period is empty averages over the others; places are scaled
    alike for that.
    """
    count = len(turns)
    if count < 2:
        return nan
    typical_s = {place: calm_s(own.values()) for place, own in _by_place(turns, period).items()}
    alike = [
        [(step % period, s / typical_s[step % period]) for step, s in t.items()] for t in turns
    ]
    rng = np.random.default_rng(0)
    found: list[float] = []
    for _ in range(_DRAWS):
        places: defaultdict[int, list[float]] = defaultdict(list)
        for number in rng.integers(count, size=count):
            for place, ratio in alike[number]:
                places[place].append(ratio)
        found.append(fmean(map(calm_s, places.values())))
    return float(np.std(np.log(found)) * (count / (count - 1)) ** 0.5)


def _by_place(
    steps_s: Iterable[Mapping[int, float]], period: int
) -> Mapping[int, Mapping[int, float]]:
    """Seconds by step, for each place in the period."""
    places: defaultdict[int, dict[int, float]] = defaultdict(dict)
    for turn in steps_s:
        for step, seconds in turn.items():
            places[step % period][step] = seconds
    return places
