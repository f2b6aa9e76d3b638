"""Runs that take turns with references, so that what the machine does meanwhile hits all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from zo2rt.measure.calm import Turn, calm_s

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


def in_turns(
    running: Sequence[Stepped],
    references: Sequence[Stepped],
    rounds: Rounds,
    done: Callable[[], None] = lambda: None,
) -> list[list[Turn]]:
    """The turns of each run, in the order of the runs; ``done`` is called after every turn."""
    beside_s: list[list[list[float]]] = [[] for _ in references]
    steps_s: list[list[Mapping[int, float]]] = [[] for _ in running]
    for _ in range(rounds.turns):
        for own, one in zip(steps_s, running, strict=True):
            for seen, reference in zip(beside_s, references, strict=True):
                seen.append([*reference.steps_s(_REFERENCE_STEPS).values()])
            own.append(one.steps_s(rounds.steps, warm_up=rounds.warm_up))
            done()
    around_s = [*zip(*map(_rolling, beside_s), strict=True)]
    return [
        [
            Turn(steps_s=turn, references_s=references_s)
            for turn, references_s in zip(own, around_s[number :: len(running)], strict=True)
        ]
        for number, own in enumerate(steps_s)
    ]


def _rolling(beside_s: Sequence[Sequence[float]]) -> list[float]:
    """A reference's calm step around every turn."""
    reach = _AROUND // 2
    windows = (beside_s[max(0, i - reach) : i + reach + 1] for i in range(len(beside_s)))
    return [calm_s(s for turn in window for s in turn) for window in windows]
