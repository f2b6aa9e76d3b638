"""A program unrolled over periods: every operation with the operations that it must wait for.

Simulator, verifier and executor read the same unrolled tuple, so an edge means one thing.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zo2sim.schedule.ops import Op, Program, Schedule, Track


class Unrolled(NamedTuple):
    """One operation of one period. Indices count within the unrolled tuple.

    ``step`` counts from the start of the program, ``position`` on the operation's track.
    ``deps`` is everything that must have finished before it starts, each once: ``track_prev``
    (the operation before it on its track, if there is one), then the targets of its edges.
    """

    op: Op
    name: str
    period: int
    step: int
    position: int
    track_prev: int | None
    deps: tuple[int, ...]


def unroll(source: Program | Schedule, *, periods: int = 1) -> tuple[Unrolled, ...]:
    """The prologue and ``periods - 1`` copies of the period, or ``periods`` copies of a schedule.

    An edge to the previous period vanishes where there is none, or where it lacks that operation.
    Raises ``ValueError`` when ``periods`` is below 1.
    """
    if periods < 1:
        raise ValueError(f"periods must be >= 1; got {periods}")
    if isinstance(source, Schedule):
        return chain((source,) * periods)
    return chain((source.prologue, *(source.period,) * (periods - 1)))


def chain(schedules: Iterable[Schedule], *, step: int = 0) -> tuple[Unrolled, ...]:
    """Schedules in a row: each is the previous period of the next one, and tracks carry on. Their
    first step is number ``step``."""
    unrolled: list[Unrolled] = []
    last: dict[Track, int] = {}
    before = _Place(0, {})
    for period, schedule in enumerate(schedules):
        here = _Place(len(unrolled), schedule.index)
        for name, op in zip(schedule.index, schedule.ops, strict=True):
            track = op.track
            prev = last.get(track)
            position = 0 if prev is None else unrolled[prev].position + 1
            deps = _deps(op, prev, here, before)
            last[track] = len(unrolled)
            unrolled.append(Unrolled(op, name, period, step + op.step, position, prev, deps))
        before = here
        step += schedule.steps
    return tuple(unrolled)


class _Place(NamedTuple):
    """Where a schedule starts in the unrolled tuple, and its own positions by name."""

    start: int
    positions: dict[str, int]


def _deps(op: Op, prev: int | None, here: _Place, before: _Place) -> tuple[int, ...]:
    targets = _targets(op.after, here, before)
    return tuple(dict.fromkeys(targets if prev is None else (prev, *targets)))


def _targets(after: tuple[str, ...], here: _Place, before: _Place) -> Iterator[int]:
    for edge in after:
        if edge[-1] != "^":
            yield here.start + here.positions[edge]
        elif (target := before.positions.get(edge[:-1])) is not None:
            yield before.start + target
