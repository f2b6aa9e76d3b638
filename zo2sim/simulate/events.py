"""Discrete-event simulation (SimPy) of a program on a machine whose resources are shared.

Each track is a process that runs its operations in order. An operation waits for its edges,
takes its fixed time, then flows through its resources; its track goes on after its gap, and a
stream that must be woken after its wake-up. A fluid model divides what several operations want at
once, max-min fair.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np
import simpy

from zo2sim.schedule.ops import Op, Program, Stream, Track
from zo2sim.schedule.unroll import Unrolled, unroll
from zo2sim.simulate.fabric import Fabric
from zo2sim.simulate.sharing import turn_of
from zo2sim.simulate.steady import Floats, cycles, forced, lengths, most_periods
from zo2sim.simulate.trace import Span, Trace
from zo2sim.simulate.work import Rates, Work, sees_late


def simulate(
    program: Program,
    work_of: Callable[[Op], Work],
    rates: Rates,
    *,
    periods: int | None = None,
) -> Trace:
    """Run the prologue and ``periods - 1`` periods, or until the program repeats itself.

    ``work_of`` gives the cost of an operation on the machine that ``rates`` describe. The same
    arguments give the same trace.
    """
    if periods is not None:
        return _trace(program, work_of, rates, periods)
    trace = None
    most = most_periods(1 + max((op.device for op in program.period.ops), default=0))
    for length in lengths(most):
        trace = replace(_trace(program, work_of, rates, length + 1), trailing=1)
        cycle = int(cycles(_ends(trace, length))[0])
        if cycle:
            return replace(trace, cycle=cycle)
    assert trace is not None, "there is at least one length to try"
    return replace(trace, cycle=forced(most))


def _ends(trace: Trace, periods: int) -> Floats:
    """Ends of the first periods. The last one has the link to itself, as nothing follows it."""
    ends = np.array([span.end_s for span in trace.spans])
    return ends.reshape(periods + 1, -1, 1)[:-1]


def _trace(program: Program, work_of: Callable[[Op], Work], rates: Rates, periods: int) -> Trace:
    run = _Run(simpy.Environment(), unroll(program, periods=periods), rates, work_of)
    return Trace(name=program.period.name, steps_per_period=program.period.steps, spans=run.spans())


class _Run:
    """One simulation: a process per track, an event per operation that ended, and another one
    where the stream that computes is woken later."""

    def __init__(
        self,
        env: simpy.Environment,
        ops: tuple[Unrolled, ...],
        rates: Rates,
        work_of: Callable[[Op], Work],
    ) -> None:
        self._env = env
        self._ops = ops
        self._fabric = Fabric(env, rates)
        self._works = [work_of(item.op) for item in ops]
        self._done = [env.event() for _ in ops]
        self._woken = [
            env.event() if work.wake_s > 0.0 else done
            for work, done in zip(self._works, self._done, strict=True)
        ]
        self._turns = defaultdict[int, simpy.Resource](lambda: simpy.Resource(env))
        self._free = self._freed() if any(item.op.device for item in ops) else self._done
        tracks = {item.op.track for item in ops}
        self._ends_seen = {(own, of): self._seen(own, of) for own in tracks for of in tracks}
        self._times: list[tuple[float, float]] = [(0.0, 0.0)] * len(ops)

    def _freed(self) -> list[simpy.Event]:
        """When an operation's own stream goes on."""
        pairs = zip(self._works, self._done, strict=True)
        return [self._env.event() if work.gap_s > 0.0 else done for work, done in pairs]

    def spans(self) -> tuple[Span, ...]:
        order = sorted(range(len(self._ops)), key=lambda i: self._ops[i].op.track)
        for _, numbers in groupby(order, key=lambda i: self._ops[i].op.track):
            self._env.process(self._track(list(numbers)))
        self._env.run()
        return tuple(
            Span(item.op, item.step, *times)
            for item, times in zip(self._ops, self._times, strict=True)
        )

    def _track(self, numbers: list[int]) -> Generator[simpy.Event, None, None]:
        for number in numbers:
            for ended in self._awaited(number):
                if not ended.processed:
                    yield ended
            start = self._env.now
            work = self._works[number]
            if work.fixed_s > 0.0:
                yield self._env.timeout(work.fixed_s)
            if self._fabric.flows(work):
                yield self._fabric.run(work, self._ops[number].op)
            if work.in_turn is not None:
                yield from self._in_turn(work.in_turn, self._ops[number].op)
            self._times[number] = (start, self._env.now)
            self._done[number].succeed()
            if work.wake_s > 0.0:
                self._env.process(self._wake(number, work.wake_s))
            if work.gap_s > 0.0:
                yield self._env.timeout(work.gap_s)
                if self._free[number] is not self._done[number]:
                    self._free[number].succeed()

    def _in_turn(self, work: Work, op: Op) -> Generator[simpy.Event, None, None]:
        """First come, first served."""
        turns = self._turns[turn_of(op)]
        own = turns.request()
        yield own
        yield self._fabric.run(work, op)
        turns.release(own)

    def _awaited(self, number: int) -> Iterator[simpy.Event]:
        """What an operation waits for, beside its own track, which runs in order anyway."""
        own = self._ops[number].op.track
        for dep in self._ops[number].deps:
            track = self._ops[dep].op.track
            if track != own:
                yield self._ends_seen[own, track][dep]

    def _seen(self, own: Track, track: Track) -> list[simpy.Event]:
        """When the one track sees what ended on the other."""
        if sees_late(own, track):
            return self._woken
        return self._free if own.stream is Stream.COMPUTE is track.stream else self._done

    def _wake(self, number: int, wake_s: float) -> Generator[simpy.Event, None, None]:
        yield self._env.timeout(wake_s)
        self._woken[number].succeed()
