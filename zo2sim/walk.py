"""A program as arithmetic: starts and ends of every operation, for many plans in one pass.

An operation starts when everything that it waits for has ended, and takes its own duration: what
the simulator does where operations do not slow each other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zo2sim.schedule import Kind, Op, Program
from zo2sim.unroll import unroll

PERIODS = 4
"""Periods to run: the first fills the pipeline, the last is the steady state."""

_CHUNK = 1024  # plans per pass: the ends of a period then stay in cache

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Walk:
    """A program reduced to arithmetic: per operation its cost class and what it waits for."""

    classes: tuple[Op, ...]
    class_of: tuple[int, ...]
    deps: tuple[tuple[int, ...], ...]
    losses: tuple[int, ...]
    steps_per_period: int

    @classmethod
    def of(cls, program: Program, like: Callable[[Op], object], periods: int = PERIODS) -> "Walk":
        """``like`` maps operations of equal cost to equal keys."""
        items = unroll(program, periods=periods)
        keys: dict[object, int] = {}
        classes: list[Op] = []
        class_of: list[int] = []
        for item in items:
            number = keys.setdefault(like(item.op), len(keys))
            if number == len(classes):
                classes.append(item.op)
            class_of.append(number)
        return cls(
            classes=tuple(classes),
            class_of=tuple(class_of),
            deps=tuple(item.deps for item in items),
            losses=tuple(i for i, item in enumerate(items) if item.op.kind is Kind.LOSS),
            steps_per_period=program.period.steps,
        )

    def ends_s(self, durations: Floats) -> Floats:
        """End of every operation, (operations, plans), from durations (classes, plans)."""
        return self._ends_s(durations, np.empty((len(self.class_of), durations.shape[1])))

    def _ends_s(self, durations: Floats, ends: Floats) -> Floats:
        for number, (cost, deps) in enumerate(zip(self.class_of, self.deps, strict=True)):
            row = ends[number]
            if not deps:
                row[:] = durations[cost]
            elif len(deps) == 1:
                np.add(ends[deps[0]], durations[cost], out=row)
            else:
                np.maximum(ends[deps[0]], ends[deps[1]], out=row)
                for dep in deps[2:]:
                    np.maximum(row, ends[dep], out=row)
                row += durations[cost]
        return ends

    def step_s(self, durations: Floats) -> Floats:
        """Mean step time of the last period, (plans,), from durations (classes, plans)."""
        last, before = self.losses[-1], self.losses[-1 - self.steps_per_period]
        room = np.empty((len(self.class_of), min(_CHUNK, durations.shape[1])))
        parts: list[Floats] = []
        for chunk in _chunks(durations):
            ends = self._ends_s(chunk, room[:, : chunk.shape[1]])
            parts.append((ends[last] - ends[before]) / self.steps_per_period)
        return np.concatenate(parts)


def _chunks(durations: Floats) -> Iterator[Floats]:
    for start in range(0, durations.shape[1], _CHUNK):
        yield durations[:, start : start + _CHUNK]
