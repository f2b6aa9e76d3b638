"""Things in turn, and runs with references: what disturbs a moment is no drift."""

from collections.abc import Iterator
from functools import partial
from itertools import count as counter
from itertools import cycle

from zo2rt.measure.calm import Turn
from zo2rt.measure.turns import Rounds, in_turn, with_references


def test_things_are_measured_in_turn():
    order: list[str] = []
    done: list[None] = []

    def measure(name: str) -> int:
        order.append(name)
        return len(order)

    measures = [partial(measure, name) for name in "ab"]
    assert in_turn(measures, 3, done=lambda: done.append(None)) == [[1, 3, 5], [2, 4, 6]]
    assert order == ["a", "b"] * 3
    assert len(done) == 6


def test_a_seed_draws_an_order_for_every_round():
    def order(seed: int) -> list[str]:
        names: list[str] = []
        found = in_turn([partial(names.append, name) for name in "abcd"], 6, seed=seed)
        assert [len(own) for own in found] == [6] * 4
        return ["".join(names[i : i + 4]) for i in range(0, 24, 4)]

    assert {"".join(sorted(turn)) for turn in order(1)} == {"abcd"}
    assert len(set(order(1))) > 1
    assert order(1) == order(1) != order(2)


class Scripted:
    """Plays a run whose steps take what the script says."""

    def __init__(self, durations_s: Iterator[float]) -> None:
        self._durations_s = durations_s
        self._numbers = counter()

    def steps_s(self, count: int, *, warm_up: int = 1) -> dict[int, float]:
        timed = [(next(self._numbers), next(self._durations_s)) for _ in range(warm_up + count)]
        return dict(timed[warm_up:])


def turns_of(run: Scripted, reference: Scripted, rounds: Rounds) -> list[Turn]:
    (found,) = with_references([run], [reference], rounds)
    return found


def test_warm_up_does_not_count():
    run = Scripted(iter([9.0, 5.0, 6.0, 7.0] * 2))
    rounds = Rounds(turns=2, steps=3, warm_up=1)
    first, second = turns_of(run, Scripted(cycle([2.0])), rounds)
    assert first.steps_s == {1: 5.0, 2: 6.0, 3: 7.0}
    assert second.steps_s == {5: 5.0, 6: 6.0, 7: 7.0}


def test_every_run_has_its_turn_in_every_round():
    order: list[str] = []

    class Named(Scripted):
        def __init__(self, name: str) -> None:
            super().__init__(cycle([1.0]))
            self._name = name

        def steps_s(self, count: int, *, warm_up: int = 1) -> dict[int, float]:
            order.append(self._name)
            return super().steps_s(count, warm_up=warm_up)

    done: list[None] = []
    rounds = Rounds(turns=2, steps=1)
    references = [Named("large"), Named("small")]
    found = with_references([Named("a"), Named("b")], references, rounds, lambda: done.append(None))
    assert order == ["large", "small", "a", "large", "small", "b"] * 2
    assert [len(turns) for turns in found] == [2, 2]
    assert len(done) == 4


def test_disturbed_moments_of_the_reference_are_no_drift():
    reference = Scripted(iter([2.0, 2.0, 9.0] * 4 + [2.0, 9.0, 9.0]))
    found = turns_of(Scripted(cycle([5.0])), reference, Rounds(turns=5, steps=1, warm_up=1))
    assert [turn.references_s for turn in found] == [(2.0,)] * 5


def test_a_reference_that_stays_slow_is_drift():
    reference = Scripted(iter([2.0] * 180 + [3.0] * 180))
    found = turns_of(Scripted(cycle([5.0])), reference, Rounds(turns=120, steps=1, warm_up=1))
    assert found[0].references_s == (2.0,)
    assert found[-1].references_s == (3.0,)


def test_each_reference_has_a_step_of_its_own():
    rounds = Rounds(turns=2, steps=1, warm_up=1)
    large, small = Scripted(cycle([2.0])), Scripted(cycle([0.5]))
    (found,) = with_references([Scripted(cycle([5.0]))], [large, small], rounds)
    assert [turn.references_s for turn in found] == [(2.0, 0.5)] * 2


def test_of_several_runs_each_turn_has_the_references_of_its_own_time():
    """Three steps of the reference a turn, one of which does not count; it slows down half-way."""
    reference = Scripted(iter([2.0] * 300 + [3.0] * 300))
    runs = [Scripted(cycle([5.0])), Scripted(cycle([7.0]))]
    rounds = Rounds(turns=100, steps=1, warm_up=1)
    for turns in with_references(runs, [reference], rounds):
        assert [turns[0].references_s, turns[-1].references_s] == [(2.0,), (3.0,)]
