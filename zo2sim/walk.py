"""A program as arithmetic: starts and ends of every operation, for many plans in one pass.

An operation starts when everything that it waits for has ended, and takes its own duration: what
the simulator does where operations do not slow each other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from zo2sim.schedule import Kind, Op, Program
from zo2sim.steady import MOST_PERIODS, PERIODS, Floats, cycles, forced, lengths
from zo2sim.unroll import unroll

Numbers = NDArray[np.int64]
_CHUNK = 1024  # plans per pass: the ends of a period then stay in cache


@dataclass(frozen=True, eq=False)
class Walk:
    """A program reduced to arithmetic: what each operation waits for, and its cost class.

    ``like`` maps operations of equal cost to equal keys.
    """

    program: Program
    like: Callable[[Op], object]

    @cached_property
    def classes(self) -> tuple[Op, ...]:
        """One operation per cost class; durations come in this order."""
        first: dict[object, Op] = {}
        for op in (*self.program.prologue.ops, *self.program.period.ops):
            first.setdefault(self.like(op), op)
        return tuple(first.values())

    @property
    def steps_per_period(self) -> int:
        return self.program.period.steps

    @cached_property
    def _rows(self) -> dict[int, list[tuple[int, tuple[int, ...]]]]:
        return {}

    def rows(self, periods: int) -> list[tuple[int, tuple[int, ...]]]:
        """Cost class and dependencies of every operation of so many periods."""
        if periods not in self._rows:
            numbers = {self.like(op): number for number, op in enumerate(self.classes)}
            items = unroll(self.program, periods=periods)
            self._rows[periods] = [(numbers[self.like(item.op)], item.deps) for item in items]
        return self._rows[periods]

    def ends_s(
        self, durations: Floats, *, periods: int = PERIODS, room: Floats | None = None
    ) -> Floats:
        """End of every operation, (operations, plans), from durations (classes, plans).

        ``room`` is memory to write them into, (operations, at least as many plans).
        """
        rows, num_plans = self.rows(periods), durations.shape[1]
        ends = np.empty((len(rows), num_plans)) if room is None else room[:, :num_plans]
        views, costs = list(ends), list(durations)  # slicing an array costs more than the sum
        for row, (cost, deps) in zip(views, rows, strict=True):
            if not deps:
                row[:] = costs[cost]
            elif len(deps) == 1:
                np.add(views[deps[0]], costs[cost], out=row)
            else:
                np.maximum(views[deps[0]], views[deps[1]], out=row)
                for dep in deps[2:]:
                    np.maximum(row, views[dep], out=row)
                np.add(row, costs[cost], out=row)
        return ends

    def step_s(self, durations: Floats) -> Floats:
        """Mean step time of the steady state, (plans,), from durations (classes, plans)."""
        room = np.empty((len(self.rows(PERIODS)), min(_CHUNK, durations.shape[1])))
        return np.concatenate([self._settled_s(chunk, room) for chunk in _chunks(durations)])

    def _settled_s(self, durations: Floats, room: Floats) -> Floats:
        """Run ever more periods for the plans that do not repeat themselves yet."""
        result = np.empty(durations.shape[1])
        open_plans: Numbers = np.arange(durations.shape[1], dtype=np.int64)
        for periods in lengths():
            reused = room if periods == PERIODS else None
            ends = self.ends_s(durations[:, open_plans], periods=periods, room=reused)
            ends = ends.reshape(periods, -1, len(open_plans))  # (periods, operations, plans)
            found = cycles(ends)
            if periods == MOST_PERIODS:
                found[found == 0] = forced(periods)
            settled = np.flatnonzero(found)
            result[open_plans[settled]] = self._mean_step_s(ends, found, settled)
            open_plans = open_plans[found == 0]
            if not len(open_plans):
                break
        return result

    def _mean_step_s(self, ends: Floats, cycle: Numbers, plans: Numbers) -> Floats:
        losses = ends[:, self._last_loss, :]
        length = losses[-1, plans] - losses[-1 - cycle[plans], plans]
        return length / (cycle[plans] * self.steps_per_period)

    @cached_property
    def _last_loss(self) -> int:
        """Position of the period's last loss among its operations."""
        kinds = [op.kind for op in self.program.period.ops]
        return len(kinds) - 1 - kinds[::-1].index(Kind.LOSS)


def _chunks(durations: Floats) -> Iterator[Floats]:
    for start in range(0, durations.shape[1], _CHUNK):
        yield durations[:, start : start + _CHUNK]
