"""Runs that take turns with a reference, so that what the machine does meanwhile hits both.

[Note: neighbours] On a virtual machine a neighbour on the same physical core makes everything up to
a third longer, for one to three seconds at a time; nothing in `/proc` tells. So steps are timed one
by one, and medians count: of a turn's steps, and of the turns.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Protocol

_AROUND = 9
"""Turns, of any run, from which the reference's step at a time is taken: 5 to 15 seconds."""


class Stepped(Protocol):
    """What takes turns: `zo2rt.measure.runs.Running`."""

    @property
    def steps_per_period(self) -> int: ...

    def steps_s(self, count: int, *, warm_up: int = 1) -> dict[int, float]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Seconds of each step that counts, by its number; and of the reference's step meanwhile.

    ``step_s`` is a step of the run, in the mean over a period, as this turn has it.
    """

    steps_s: Mapping[int, float]
    step_s: float
    reference_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """How many turns each run has, of how many steps, and how many go before them uncounted."""

    turns: int
    steps: int
    warm_up: int = 2


def in_turns(
    running: Sequence[Stepped],
    reference: Stepped,
    rounds: Rounds,
    done: Callable[[], None] = lambda: None,
) -> list[list[Turn]]:
    """The turns of each run, in the order of the runs; ``done`` is called after every turn."""
    beside_s: list[float] = []
    steps_s: list[list[Mapping[int, float]]] = [[] for _ in running]
    for _ in range(rounds.turns):
        for own, one in zip(steps_s, running, strict=True):
            beside = reference.steps_s(rounds.steps, warm_up=rounds.warm_up)
            beside_s.append(median(beside.values()))
            own.append(one.steps_s(rounds.steps, warm_up=rounds.warm_up))
            done()
    around_s = _rolling_median(beside_s)
    return [
        _turns(own, around_s[number :: len(running)], one.steps_per_period)
        for number, (own, one) in enumerate(zip(steps_s, running, strict=True))
    ]


def calm_steps(turns: Sequence[Turn], period: int) -> dict[int, float]:
    """Seconds by step, of the faster three quarters in each place of a period: none stalled."""
    found: dict[int, float] = {}
    for own in _by_place((turn.steps_s for turn in turns), period).values():
        fastest = sorted(own.items(), key=lambda item: item[1])
        found |= dict(fastest[: -(-3 * len(own) // 4)])
    return found


def _by_place(
    steps_s: Iterable[Mapping[int, float]], period: int
) -> Mapping[int, Mapping[int, float]]:
    """Seconds by step, for each place in the period: steps differ from place to place."""
    places: defaultdict[int, dict[int, float]] = defaultdict(dict)
    for turn in steps_s:
        for step, seconds in turn.items():
            places[step % period][step] = seconds
    return places


def _turns(
    steps_s: Sequence[Mapping[int, float]], reference_s: Sequence[float], period: int
) -> list[Turn]:
    """Steps in different places of a period are compared with the median of their own place."""
    places = _by_place(steps_s, period)
    typical_s = {place: median(own.values()) for place, own in places.items()}
    mean_s = fmean(typical_s.values())
    return [
        Turn(
            steps_s=turn,
            step_s=mean_s * median(s / typical_s[step % period] for step, s in turn.items()),
            reference_s=beside_s,
        )
        for turn, beside_s in zip(steps_s, reference_s, strict=True)
    ]


def _rolling_median(values: Sequence[float]) -> list[float]:
    reach = _AROUND // 2
    return [median(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))]
