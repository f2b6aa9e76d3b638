"""Things that are measured in turn, so that what the machine does meanwhile hits all of them.

Everything here is timed so: benchmarks, sides of a ratio, and runs with references.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Protocol, TypeVar

from zo2rt.measure.calm import Turn, calm_s

T = TypeVar("T")
TURNS = 12
"""Of a run whose step is compared with a prediction; bands hold for what so many of them tell."""
_AROUND = 31
"""Turns, of any run, from which a reference's step at a time is taken: about half a minute."""
_REFERENCE_STEPS = 2
"""They count, after one that does not: many turns share them."""


class Stepped(Protocol):
    """What takes turns: `zo2rt.measure.runs.Running`."""

    def steps_s(self, count: int, *, warm_up: int = 1) -> dict[int, float]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """How many turns each run has, of how many steps, and how many go before them uncounted."""

    turns: int
    steps: int
    warm_up: int = 2


def in_turn(
    measures: Sequence[Callable[[], T]],
    rounds: int,
    *,
    seed: int | None = None,
    done: Callable[[], None] = lambda: None,
) -> list[list[T]]:
    """What each of the measures finds, once in every round.

    They have their turns in the order given, or with a seed in one that is drawn for each round.
    ``done`` is called after every turn.
    """
    draw = None if seed is None else random.Random(seed)
    found: list[list[T]] = [[] for _ in measures]
    order = range(len(measures))
    for _ in range(rounds):
        for number in order if draw is None else draw.sample(order, len(order)):
            found[number].append(measures[number]())
            done()
    return found


def with_references(
    running: Sequence[Stepped],
    references: Sequence[Stepped],
    rounds: Rounds,
    done: Callable[[], None] = lambda: None,
) -> list[list[Turn]]:
    """The turns of each run, in the order of the runs; the references step before each of them."""

    def turn(one: Stepped) -> tuple[list[list[float]], Mapping[int, float]]:
        beside_s = [[*reference.steps_s(_REFERENCE_STEPS).values()] for reference in references]
        return beside_s, one.steps_s(rounds.steps, warm_up=rounds.warm_up)

    found = in_turn([partial(turn, one) for one in running], rounds.turns, done=done)
    as_they_ran = chain.from_iterable(zip(*found, strict=True))
    per_reference = zip(*(beside_s for beside_s, _ in as_they_ran), strict=True)
    around_s = [*zip(*map(_rolling, per_reference), strict=True)]
    return [
        [
            Turn(steps_s=steps_s, references_s=references_s)
            for (_, steps_s), references_s in zip(
                own, around_s[number :: len(running)], strict=True
            )
        ]
        for number, own in enumerate(found)
    ]


def _rolling(beside_s: Sequence[Sequence[float]]) -> list[float]:
    """A reference's calm step around every turn."""
    reach = _AROUND // 2
    windows = (beside_s[max(0, i - reach) : i + reach + 1] for i in range(len(beside_s)))
    return [calm_s(s for turn in window for s in turn) for window in windows]
