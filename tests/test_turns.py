"""Runs in turns with a reference: what disturbs a second does not move what is measured."""

from collections.abc import Iterator
from itertools import count as counter
from itertools import cycle

import pytest

from zo2rt.measure.turns import Rounds, Turn, calm_steps, in_turns


class Scripted:
    """Plays a run whose steps take what the script says."""

    def __init__(self, durations_s: Iterator[float], period: int = 1) -> None:
        self._period = period
        self._durations_s = durations_s
        self._numbers = counter()

    @property
    def steps_per_period(self) -> int:
        return self._period

    def steps_s(self, count: int, *, warm_up: int = 1) -> dict[int, float]:
        timed = [(next(self._numbers), next(self._durations_s)) for _ in range(warm_up + count)]
        return dict(timed[warm_up:])


def turns_of(run: Scripted, reference: Scripted, rounds: Rounds) -> list[Turn]:
    (found,) = in_turns([run], reference, rounds)
    return found


def test_a_disturbed_step_moves_no_turn():
    run = Scripted(iter([9.0, 5.0, 5.0, 50.0] * 5))
    rounds = Rounds(turns=5, steps=3, warm_up=1)
    found = turns_of(run, Scripted(cycle([2.0])), rounds)
    assert [turn.step_s for turn in found] == [5.0] * 5
    assert [sorted(turn.steps_s) for turn in found[:2]] == [[1, 2, 3], [5, 6, 7]]


def test_a_disturbed_moment_of_the_reference_is_no_drift():
    spiked = [2.0, 2.0, 9.0, 2.0, 2.0]
    reference = Scripted(iter([one for one in spiked for _ in range(2)]))
    found = turns_of(Scripted(cycle([5.0])), reference, Rounds(turns=5, steps=1, warm_up=1))
    assert [turn.reference_s for turn in found] == [2.0] * 5


def test_a_reference_that_stays_slow_is_drift():
    reference = Scripted(iter([2.0] * 20 + [3.0] * 20))
    found = turns_of(Scripted(cycle([5.0])), reference, Rounds(turns=20, steps=1, warm_up=1))
    assert found[0].reference_s == 2.0
    assert found[-1].reference_s == 3.0


def test_steps_of_a_period_are_averaged_not_mixed():
    """Periods of 3 steps, turns of 2: every turn sees other places of the period."""
    run = Scripted(cycle([4.0, 5.0, 9.0]), period=3)
    found = turns_of(run, Scripted(cycle([1.0])), Rounds(turns=9, steps=2, warm_up=0))
    assert [turn.step_s for turn in found] == pytest.approx([6.0] * 9)


def test_the_slowest_quarter_of_each_place_is_not_calm():
    durations = [4.0, 9.0] * 3 + [50.0, 90.0]
    run = Scripted(iter(durations), period=2)
    found = turns_of(run, Scripted(cycle([1.0])), Rounds(turns=2, steps=4, warm_up=0))
    assert calm_steps(found, 2) == {0: 4.0, 1: 9.0, 2: 4.0, 3: 9.0, 4: 4.0, 5: 9.0}
