"""A program as arithmetic: starts and ends of every operation, for many plans in one pass.

An operation starts when everything that it waits for has ended, and takes its own duration: what
the simulator does where operations do not slow each other. Another track may see an end later, or
earlier, than its own track goes on (`zo2sim.simulate.work.sees_late`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice

import numpy as np

from zo2sim.schedule.ops import Kind, Op, Program
from zo2sim.simulate.kept import Kept, keep
from zo2sim.simulate.steady import MOST_PERIODS, PERIODS, Floats, cycles, forced

_LAPS = (12, 32, MOST_PERIODS)
"""Periods after which the plans that have not settled go on by themselves, from the start."""
_LONGEST = 5  # periods that show a cycle of four
_CHUNK = 8192  # plans per pass: a few hundred places of them fit the last cache


@dataclass(frozen=True, eq=False)
class Walk:
    """A program reduced to arithmetic: what each operation waits for, and its cost class.

    ``like`` maps operations of equal cost to equal keys. What runs ``once`` has no steady state:
    its step is the first period, from start to end.
    """

    program: Program
    like: Callable[[Op], object]
    once: bool = False

    @property
    def classes(self) -> tuple[Op, ...]:
        """One operation per cost class; durations come in this order."""
        return self._classified[0]

    @cached_property
    def _classified(self) -> tuple[tuple[Op, ...], dict[int, int]]:
        """That, and the class of every operation by the object, which the program keeps."""
        first: dict[object, tuple[int, Op]] = {}
        numbers: dict[int, int] = {}
        for op in (*self.program.prologue.ops, *self.program.period.ops):
            if id(op) not in numbers:
                numbers[id(op)], _ = first.setdefault(self.like(op), (len(first), op))
        return tuple(op for _, op in first.values()), numbers

    @property
    def steps_per_period(self) -> int:
        return self.program.period.steps

    @cached_property
    def _kept(self) -> Kept:
        return keep(self.program, self.handed_on, self._number)

    def _number(self, op: Op) -> int:
        return self._classified[1][id(op)]

    def step_s(self, durations: Floats, late: Floats) -> Floats:
        """Mean step time of the steady state, (plans,); takes what `periods` takes."""
        step_s = self._first_s if self.once else self._settled_s
        chunks = _chunks(durations.shape[1])
        found = [step_s(durations[:, own], late[:, own]) for own in chunks]
        return np.concatenate(found)

    def periods(self, durations: Floats, late: Floats) -> Iterator[Floats]:
        """Ends of what one period after the other hands on, (operations, plans), in memory that is
        used again; the last one is the loss.

        From durations (classes, plans); ``late`` has their shape: how much later an end is seen
        where it is seen late.
        """
        size = len(self.handed_on)
        held = np.empty((self._kept.size, durations.shape[1]))
        ends, costs = list(held), list(durations)  # slicing an array costs more than the sum
        lates = list(late) if late.any() else None
        for period in count():
            for end, cost, deps, late_classes in self._kept.rows[_turn(period)]:
                befores = [ends[dep] for dep in deps]
                if lates is not None:
                    befores = _seen(befores, late_classes, lates)
                _end(ends[end], None if cost is None else costs[cost], befores)
            first = size * (period % 2)
            yield held[first : first + size]

    def _first_s(self, durations: Floats, late: Floats) -> Floats:
        return next(self.periods(durations, late)).max(axis=0)  # of every track the last end

    def _settled_s(self, durations: Floats, late: Floats) -> Floats:
        """Run ever more periods until every plan repeats itself."""
        result = np.full(durations.shape[1], np.nan)
        for most in _LAPS:
            rest = np.flatnonzero(np.isnan(result))
            if len(rest):
                result[rest] = self._lap_s(durations[:, rest], late[:, rest], most)
        return result

    def _lap_s(self, durations: Floats, late: Floats, most: int) -> Floats:
        """The step of those that repeat themselves within ``most`` periods, else not a number."""
        result = np.full(durations.shape[1], np.nan)
        seen: list[Floats] = []
        for ends in islice(self.periods(durations, late), most):
            seen.append(ends.copy())
            if len(seen) < PERIODS - 1:
                continue
            found = cycles(np.stack([*seen][-_LONGEST:]))
            if len(seen) == MOST_PERIODS:
                found[found == 0] = forced(MOST_PERIODS)
            plans = np.flatnonzero((found > 0) & np.isnan(result))
            shown: list[int] = found[plans].tolist()
            for cycle in set(shown):
                those = plans[found[plans] == cycle]
                length = seen[-1][-1, those] - seen[-1 - cycle][-1, those]
                result[those] = length / (cycle * self.steps_per_period)
            if not np.isnan(result).any():
                break
        return result

    @cached_property
    def handed_on(self) -> tuple[int, ...]:
        """Positions of what the next period waits for, as everything after follows from these.

        The last one is the period's last loss.
        """
        period = self.program.period
        edges = {edge[:-1] for op in period.ops for edge in op.after if edge.endswith("^")}
        last = {op.track: op.name for op in period.ops}
        loss = [op.name for op in period.ops if op.kind is Kind.LOSS][-1]
        names = edges | set(last.values())
        return tuple(period.index[name] for name in (*sorted(names - {loss}), loss))


def _turn(period: int) -> int:
    """Which rows a period has: those of the first, of an odd or of an even one."""
    return 0 if period == 0 else 2 - period % 2


def _end(row: Floats, duration: Floats | None, befores: Sequence[Floats]) -> None:
    """Into ``row``: when an operation ends that starts when everything before it has ended. Without
    a duration, when that is, of at least two."""
    start = befores[0] if befores else 0.0
    if len(befores) > 1:
        start = np.maximum(befores[0], befores[1], out=row)
        for before in befores[2:]:
            np.maximum(row, before, out=row)
    if duration is not None:
        np.add(start, duration, out=row)


def _seen(
    befores: Sequence[Floats], classes: Sequence[int | None], lates: Sequence[Floats]
) -> list[Floats]:
    """The ends as the track sees them that waits for them."""
    pairs = zip(befores, classes, strict=True)
    return [ends if one is None else ends + lates[one] for ends, one in pairs]


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, _CHUNK):
        yield slice(start, start + _CHUNK)
